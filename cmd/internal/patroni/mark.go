package patroni

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// receives writes a mark at the leader and looks for it at the standby; nil: it
// is there. A former primary that is still to be rewound is a standby that streams
// too, for a moment: what it has beside the leader's rows is ahead of them.
func (n *Node) receives(ctx context.Context, leader *Node) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	mark := fmt.Sprint(time.Now().UnixNano())
	primary, err := connect(ctx, leader)
	if err != nil {
		return err
	}
	defer primary.Close(ctx) //nolint:errcheck // the answer is there
	if _, err := primary.Exec(ctx, "COMMENT ON DATABASE postgres IS '"+mark+"'"); err != nil {
		return fmt.Errorf("mark %s: %w", leader, err)
	}
	standby, err := connect(ctx, n)
	if err != nil {
		return err
	}
	defer standby.Close(ctx) //nolint:errcheck // the answer is there
	return await(ctx, n.Name+" to have a mark of "+leader.Name, func() error {
		var got string
		const read = "SELECT coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE datname = 'postgres'"
		if err := standby.QueryRow(ctx, read).Scan(&got); err != nil {
			return err
		}
		if got != mark {
			return fmt.Errorf("got %q; want %s", got, mark)
		}
		return nil
	})
}

// connect connects to a node's PostgreSQL.
func connect(ctx context.Context, n *Node) (*pgx.Conn, error) {
	return pgx.Connect(ctx, "postgres://postgres@"+n.Address+"/postgres?sslmode=disable&application_name=watch")
}
