package rows

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	redialPause = 20 * time.Millisecond
	stopTimeout = 15 * time.Second // for the last rows to be acknowledged
)

// Writers write rows, each over a connection of its own, one row at a time. One
// whose connection ends makes another and goes on with the next row: a row
// whose acknowledgement did not come may be there or not.
type Writers struct {
	table   string
	address func() string
	think   time.Duration
	stay    time.Duration      // on one connection; 0: for ever
	one     bool               // row a connection
	soft    context.CancelFunc // no more rows
	hard    context.CancelFunc // not even those under way
	wg      sync.WaitGroup

	mu       sync.Mutex
	acked    []Row
	failures []Failure
	live     map[int]bool      // writers whose connection is up
	waiting  map[int]time.Time // since when a writer has waited for an acknowledgement
	longest  time.Duration
}

// Options are how writers write; the zero ones do it as fast as they can.
type Options struct {
	Think time.Duration // rest after each row
	Stay  time.Duration // about: then a writer ends its connection and makes another, as apps do; 0: never
	One   bool          // row a connection
}

// Start starts writers. Each connection goes to the address that address gives
// then. Stop must be called.
func Start(count int, table string, o Options, address func() string) *Writers {
	hard, cancelHard := context.WithCancel(context.Background())
	soft, cancelSoft := context.WithCancel(hard)
	w := &Writers{
		table: table, address: address, think: o.Think, stay: o.Stay, one: o.One, soft: cancelSoft, hard: cancelHard,
		live: map[int]bool{}, waiting: map[int]time.Time{},
	}
	for writer := range count {
		w.wg.Go(func() { w.run(soft, hard, writer) })
	}
	return w
}

// Stop lets each writer have its row acknowledged, and returns when all have ended.
func (w *Writers) Stop() {
	w.soft()
	defer time.AfterFunc(stopTimeout, w.hard).Stop()
	w.wg.Wait()
}

// Abort ends the writers at once.
func (w *Writers) Abort() {
	w.hard()
	w.wg.Wait()
}

func (w *Writers) run(soft, hard context.Context, writer int) {
	for number := 0; soft.Err() == nil && hard.Err() == nil; {
		if err := w.visit(soft, hard, writer, &number); err != nil && hard.Err() == nil {
			w.failed(writer, err)
			sleep(soft, redialPause)
		}
		if w.one {
			sleep(soft, w.think)
		}
	}
}

// visit writes over one connection until that fails; nil: the writer has ended it.
func (w *Writers) visit(soft, hard context.Context, writer int, number *int) error {
	w.asks(writer)
	conn, err := connect(hard, w.address())
	if err != nil {
		return err
	}
	defer conn.Close(hard) //nolint:errcheck // whether it is in order does not matter
	w.connected(writer, true)
	defer w.connected(writer, false)
	begun, stay := time.Now(), w.stay/2+rand.N(w.stay+1)
	for soft.Err() == nil && (w.stay == 0 || time.Since(begun) < stay) {
		w.asks(writer)
		*number++
		by, err := insert(hard, conn, w.table, writer, *number)
		if err != nil {
			return err
		}
		w.ack(Row{Writer: writer, Number: *number, Acked: time.Now(), By: by})
		if w.one {
			return nil
		}
		sleep(soft, w.think)
	}
	return nil
}

// insert writes one row and returns when it has been committed.
func insert(ctx context.Context, conn *pgx.Conn, table string, writer, number int) (by int, err error) {
	row := conn.QueryRow(ctx, "INSERT INTO "+table+" VALUES ($1, $2) RETURNING inet_server_port()", writer, number)
	err = row.Scan(&by) // reads to the end, the commit included
	return by, err
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// asks says that the writer wants an acknowledgement; again, while it does, changes nothing.
func (w *Writers) asks(writer int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting[writer].IsZero() {
		w.waiting[writer] = time.Now()
	}
}

func (w *Writers) ack(r Row) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked = append(w.acked, r)
	w.longest = max(w.longest, r.Acked.Sub(w.waiting[r.Writer]))
	delete(w.waiting, r.Writer)
}

func (w *Writers) failed(writer int, err error) {
	f := Failure{Writer: writer, At: time.Now(), Err: err}
	if said := (*pgconn.PgError)(nil); errors.As(err, &said) {
		f.Code = said.Code
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures = append(w.failures, f)
}

func (w *Writers) connected(writer int, yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live[writer] = yes
}

// Acked are the rows that were acknowledged since a time.
func (w *Writers) Acked(since time.Time) []Row {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.acked), func(r Row) bool { return r.Acked.Before(since) })
}

// Failures are those since a time.
func (w *Writers) Failures(since time.Time) []Failure {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.failures), func(f Failure) bool { return f.At.Before(since) })
}

// Count is a reading of the numbers.
type Count struct {
	Acked    int           // rows
	Failures int           // connections that ended before their writer was done
	Live     int           // writers that have a connection to a server
	Waiting  int           // writers that have waited for an acknowledgement for longer than patience
	Longest  time.Duration // that a writer has waited for one, over all connections that it made for it
}

// patience is how long a writer waits before it counts as waiting.
const patience = 200 * time.Millisecond

// Count reads the numbers.
func (w *Writers) Count() Count {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := Count{Acked: len(w.acked), Failures: len(w.failures), Longest: w.longest}
	for _, yes := range w.live {
		if yes {
			c.Live++
		}
	}
	for _, since := range w.waiting {
		if time.Since(since) > patience {
			c.Waiting++
		}
	}
	return c
}
