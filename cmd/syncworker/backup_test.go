package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/rosproxy/rosproxy/proxy"
)

// startMaster serves a master of epoch 1 of the history h, without a slave.
func startMaster(t *testing.T) (tm *term, addr string) {
	t.Helper()
	tm = startTerm(t, &fakeArbiter{}, time.Millisecond)
	srv := &server{id: "1", store: tm.store, log: zerolog.Nop(), conns: make(map[net.Conn]bool)}
	srv.term.Store(tm)
	return tm, startServer(t, srv)
}

// TestBackupIsTheMastersLogUpToTheRecordThatItSays: taken while clients write, and
// with all in it that was acknowledged before it was asked for.
func TestBackupIsTheMastersLogUpToTheRecordThatItSays(t *testing.T) {
	tm, addr := startMaster(t)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := uint64(1); ; n++ {
			select {
			case <-stop:
				return
			default:
				tm.put(record{"c", n}) //nolint:errcheck // acknowledged or not
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	eventually(t, "there are records", func() bool { return tm.store.size() > 2000 })
	for range 5 {
		tm.mu.Lock()
		acknowledged := tm.commit
		tm.mu.Unlock()
		b, err := (&backupSource{from: addr}).take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		log, _ := tm.store.after(0)
		if b.Records < acknowledged || !slices.Equal(b.log, log[:b.Records]) {
			t.Errorf("backup of %d records is not the beginning of the master's log; want that, and at least %d", b.Records, acknowledged)
		}
		if want := fmt.Sprintf("c %d", b.Records); b.Last != want || b.History != "h" || b.Epoch != 1 {
			t.Errorf("backup says %+v; want history h, epoch 1, last record %q", b.backupHeader, want)
		}
	}
}

func TestBackupComesFromAMasterAlone(t *testing.T) {
	srv := &server{id: "2", store: newStore(), log: zerolog.Nop(), conns: make(map[net.Conn]bool)}
	if _, err := (&backupSource{from: startServer(t, srv)}).take(t.Context()); err == nil || !strings.Contains(err.Error(), "worker 2 is not master") {
		t.Errorf("backup of a spare got %v; want the worker's refusal", err)
	}
	for name, answer := range map[string]string{
		"another protocol":  "HTTP/1.1 400 Bad Request\r\n",
		"an absurd count":   "COPY 1 9000000000000 h\n",
		"cut short":         "COPY 1 2 h\nc 1\n",
		"a record twice":    "COPY 1 2 h\nc 1\nc 1\n",
		"not a history":     "COPY 1 0 h/i\n",
		"without a history": "COPY 1 0\n",
	} {
		m := newScripted(t)
		done := make(chan error, 1)
		go func() {
			_, err := (&backupSource{from: m.ln.Addr().String()}).take(t.Context())
			done <- err
		}()
		conn, _, _ := m.accept()
		fmt.Fprint(conn, answer)
		conn.Close()
		if err := <-done; err == nil {
			t.Errorf("%s: got a backup; want an error", name)
		}
	}
}

func TestBackupIsTakenThroughAProxy(t *testing.T) {
	tm, addr := startMaster(t)
	wantAcknowledged(t, put(tm, 1))
	p, err := proxy.New(proxy.Config{Listeners: []proxy.Listener{{Label: "red", Address: "127.0.0.1:0"}}, HoldTimeout: testTimeout}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx) }()
	defer func() { cancel(); <-served }()
	p.SetMaster("red", proxy.Master{Address: netip.MustParseAddrPort(addr)})
	path := filepath.Join(t.TempDir(), "red.backup")
	if status := command([]string{"backup", path, "--from", p.Snapshot().Labels[0].Listen}); status != 0 {
		t.Fatalf("exit status got %d; want 0", status)
	}
	if b, err := readBackup(path); err != nil || b.Last != "c 1" {
		t.Errorf("got %+v, %v; want a backup up to c 1", b, err)
	}
}

// TestBackupFollowsTheMasterThatConsulNames: over a failover, at its interval.
func TestBackupFollowsTheMasterThatConsulNames(t *testing.T) {
	t.Parallel()
	onEveryConsul(t, func(t *testing.T, c *cluster) {
		path := filepath.Join(c.dir, "red.backup")
		if out, status := c.run("backup", path); status != 1 || !strings.Contains(out, "label red has no master") {
			t.Errorf("without a master: exit status got %d, %s; want 1 and why", status, out)
		}
		c.background("backup", path, "--every=100ms")
		master, slave, _ := startThree(c)
		c.write(master, 1, 100)
		c.wantBackup(path, 100)
		c.kill(master)
		eventually(t, "the slave is master", func() bool { return c.roles()[slave] == "master" })
		c.write(slave, 101, 200)
		c.wantBackup(path, 200)
	})
}

// TestKilledBackupLeavesTheLastOneWhole kills the writer at any moment.
func TestKilledBackupLeavesTheLastOneWhole(t *testing.T) {
	t.Parallel()
	tm, addr := startMaster(t)
	for n := uint64(1); n <= 20000; n++ {
		tm.store.put(record{"c", n})
	}
	path := filepath.Join(t.TempDir(), "red.backup")
	if status := command([]string{"backup", path, "--from", addr}); status != 0 {
		t.Fatalf("exit status got %d; want 0", status)
	}
	for i := range 12 {
		p := asProcess("backup", path, "--from", addr, "--every=100ms")
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+17*i) * time.Millisecond)
		p.Process.Kill() //nolint:errcheck // it runs until it is killed
		p.Wait()         //nolint:errcheck // killed
		if b, err := readBackup(path); err != nil || b.Records != 20000 {
			t.Fatalf("after the kill got %v, %v; want the backup whole", b, err)
		}
	}
	if status := command([]string{"backup", path, "--from", addr}); status != 0 {
		t.Errorf("exit status of the next backup got %d; want 0", status)
	}
	wantAlone(t, path)
}

func TestVerifySaysHowFarABackupGoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "red.backup")
	writeOK(t, path, testBackup(t, 50))
	out, err := asProcess("verify", path).CombinedOutput()
	if want := `history=h epoch=3 records=50 last="c0 49" taken=1970-01-01T00:16:40.000000005Z`; err != nil || !strings.Contains(string(out), want) {
		t.Errorf("verify got %s, %v; want %s", out, err, want)
	}
	out, err = asProcess("verify", path+".absent").CombinedOutput()
	if _, failed := err.(*exec.ExitError); !failed || !strings.Contains(string(out), "no such file") {
		t.Errorf("verify of an absent file got %s, %v; want exit status 1 and why", out, err)
	}
}

// FuzzCopy: whatever a master sends, a backup of it can be restored, or there is none.
func FuzzCopy(f *testing.F) {
	for _, answer := range []string{"COPY 1 2 h\nc 1\nc 2\n", "COPY 1 0 h\n", "COPY 9 1 h\nc 1\nc 2\n", "ERR worker 2 is not master\n", "COPY 1 9000000000000 h\n"} {
		f.Add([]byte(answer))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bufio.NewReaderSize(bytes.NewReader(data), bufSize)
		h, err := readCopyHead(in)
		if err != nil {
			return
		}
		log, err := readCopy(in, h)
		if err != nil {
			return
		}
		b, err := newBackup(point{History: h.history, Epoch: h.epoch, Records: h.count}, log, time.Now())
		if err != nil {
			return
		}
		if _, err := decodeBytes(encoded(t, b)); err != nil {
			t.Fatalf("the backup of %q cannot be restored: %v", data, err)
		}
	})
}
