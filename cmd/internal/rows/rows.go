// Package rows writes numbered rows to PostgreSQL through whatever stands in
// between, and finds out which of those that were acknowledged are there.
package rows

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Row is one that was acknowledged.
type Row struct {
	Writer, Number int
	Acked          time.Time // when the writer heard of it
	By             int       // port of the server that acknowledged it
}

// Failure is the end of a connection before its writer was done with it.
type Failure struct {
	Writer int
	At     time.Time
	Code   string // PostgreSQL's, if it was PostgreSQL that ended it; empty: the connection broke, or could not be made
	Err    error
}

// ReadOnly is the code of "cannot execute INSERT in a read-only transaction".
const ReadOnly = "25006"

// connect connects to a server as its superuser. Nothing in it waits for
// longer than ctx lets it: rosproxy may hold the connection.
func connect(ctx context.Context, address string) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig("postgres://postgres@" + address + "/postgres?sslmode=disable&application_name=rows")
	if err != nil {
		return nil, err
	}
	c.ConnectTimeout = 0
	return pgx.ConnectConfig(ctx, c)
}

// Create makes an empty table for rows at the primary; one that is there is dropped.
func Create(ctx context.Context, primary, table string) error {
	conn, err := connect(ctx, primary)
	if err != nil {
		return fmt.Errorf("create table %s: %w", table, err)
	}
	defer conn.Close(ctx) //nolint:errcheck // the answers are there
	// No index: whether a row is there twice does not matter, and each is looked for in memory.
	_, err = conn.Exec(ctx, "DROP TABLE IF EXISTS "+table+"; CREATE TABLE "+table+" (writer integer, number integer)")
	if err != nil {
		return fmt.Errorf("create table %s: %w", table, err)
	}
	return nil
}

// Lost are those of the rows that the server does not have.
func Lost(ctx context.Context, server, table string, acked []Row) ([]Row, error) {
	conn, err := connect(ctx, server)
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", table, err)
	}
	defer conn.Close(ctx) //nolint:errcheck // the answers are there
	found, err := conn.Query(ctx, "SELECT writer, number FROM "+table)
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", table, err)
	}
	type id struct{ writer, number int }
	there := map[id]bool{}
	var i id
	_, err = pgx.ForEachRow(found, []any{&i.writer, &i.number}, func() error {
		there[i] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", table, err)
	}
	var lost []Row
	for _, r := range acked {
		if !there[id{r.Writer, r.Number}] {
			lost = append(lost, r)
		}
	}
	return lost, nil
}
