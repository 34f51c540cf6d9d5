package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// backUp takes a backup of the group red.
func (c *cluster) backUp() (path string) {
	c.t.Helper()
	path = filepath.Join(c.dir, fmt.Sprintf("red-%d.backup", len(c.logs)))
	if out, status := c.run("backup", path); status != 0 {
		c.t.Fatalf("backup: exit status %d, %s", status, out)
	}
	return path
}

// elsewhere is another data centre, with a Consul of its own of the same kind.
func elsewhere(t *testing.T, test func(t *testing.T, here, there *cluster)) {
	onEveryConsul(t, func(t *testing.T, here *cluster) {
		test(t, here, here.another())
	})
}

func startAll(c *cluster, flags ...string) {
	for _, id := range []string{"1", "2", "3"} {
		c.start(id, flags...)
	}
}

func TestGroupBeginsWithABackup(t *testing.T) {
	t.Parallel()
	elsewhere(t, func(t *testing.T, here, there *cluster) {
		master, _, _ := startThree(here)
		here.write(master, 1, 100)
		file := here.backUp()
		here.write(master, 101, 110) // since the backup
		startAll(there, "--restore="+file)
		master, slave, spare := there.who()
		there.wantRecordsAlone(master, 100)
		there.write(master, 201, 210)
		// Whoever comes back with its old flags is filled by the group, and never the group by the backup.
		there.kill(spare)
		there.start(spare, "--restore="+file)
		there.fills(spare, 110)
		there.kill(master)
		there.start(master, "--restore="+file)
		eventually(t, "the slave is master", func() bool { return there.roles()[slave] == "master" })
		there.who()
		for _, id := range []string{master, slave, spare} {
			there.fills(id, 110)
		}
	})
}

func TestRestoreIntoAGroupWithOtherDataIsRefused(t *testing.T) {
	t.Parallel()
	onEveryConsul(t, func(t *testing.T, c *cluster) {
		master, _, spare := startThree(c)
		c.write(master, 1, 50)
		own, other := c.backUp(), filepath.Join(c.dir, "other.backup")
		writeOK(t, other, testBackup(t, 10))
		c.write(master, 51, 60)
		for _, file := range []string{own, other} {
			out, status := c.run("--id=4", "--listen=127.0.0.1:0", "--restore="+file)
			history := c.history(master)
			if status != 1 || !strings.Contains(out, "has data already, of history "+history) || !strings.Contains(out, "--restore-over "+history) {
				t.Errorf("restore of %s: exit status got %d, %s; want 1, and the history that is there", file, status, out)
			}
		}
		c.wantRecordsAlone(master, 60)
		c.fills(spare, 60)
		if got := len(c.roles()); got != 3 {
			t.Errorf("%d workers are registered; want the 3 of before", got)
		}
	})
}

// TestRestoredGroupIsNeverMixedWithTheFormerOne: the former master goes on for as
// long as it is one, and a worker of the former group keeps its records to itself
// until it is started anew.
func TestRestoredGroupIsNeverMixedWithTheFormerOne(t *testing.T) {
	t.Parallel()
	onEveryConsul(t, func(t *testing.T, c *cluster) {
		master, slave, spare := startThree(c)
		c.write(master, 1, 50)
		file, former := c.backUp(), c.history(master)
		c.write(master, 51, 60)
		c.fills(spare, 60)

		c.start("4", "--restore="+file, "--restore-over="+former)
		eventually(t, "worker 4 waits", func() bool { return c.roles()["4"] == "spare" })
		c.write(master, 61, 70) // nobody is in its way
		if got := len(c.holds("4")); got != 0 {
			t.Errorf("worker 4 got %d records of the group that it is to replace; want none", got)
		}
		c.fills(spare, 70)
		c.freeze(slave) // so that nobody of the former group takes over
		c.kill(master)
		eventually(t, "worker 4 is master", func() bool { return c.roles()["4"] == "master" })
		c.start("5", "--restore="+file, "--restore-over="+former)
		c.write("4", 101, 110)
		c.signal(slave, syscall.SIGCONT)
		c.wantRoles(map[string]string{"4": "master", "5": "slave", slave: "spare", spare: "spare"})
		time.Sleep(10 * redialEvery)

		want := map[string]bool{}
		for n := range 50 {
			want[fmt.Sprintf("c %d", n+1)] = true
		}
		for n := range 10 {
			want[fmt.Sprintf("c %d", n+101)] = true
		}
		for _, id := range []string{"4", "5"} {
			if got := c.holds(id); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("worker %s of the restored group has %d records, %v; want the backup's 50 and 10 more", id, len(got), got)
			}
		}
		for _, id := range []string{slave, spare} {
			c.wantRecordsAlone(id, 70)
			if got := c.history(id); got != former {
				t.Errorf("worker %s of the former group is of history %s; want %s", id, got, former)
			}
		}
		c.kill(spare)
		c.start(spare)
		c.fills(spare, len(want))
		if got := c.holds(spare); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("started anew, the spare has %v; want the restored group's records", got)
		}
	})
}

func TestWarmSpareTakesNewerBackupsUntilAClientWrites(t *testing.T) {
	t.Parallel()
	elsewhere(t, func(t *testing.T, here, there *cluster) {
		file := filepath.Join(here.dir, "red.backup")
		// Before there is one, and with proxies to wait for at an election, of which there are none.
		startAll(there, "--restore="+file, "--warm-spare", "--fence-report=rosproxy/fence")
		master, _, _ := startThree(here)
		here.write(master, 1, 100)
		here.background("backup", file, "--every=100ms")
		warm, slave, spare := there.who()
		for n := 101; n <= 500; n += 100 {
			here.write(master, n, n+99)
			there.fills(warm, n+99)
		}
		// Its master is killed: another one goes on with the newest backup.
		// Any may be it, since nothing but the backup is there.
		there.kill(warm)
		eventually(t, "another is master", func() bool {
			if there.roles()[spare] == "master" {
				slave, spare = spare, slave
			}
			return there.roles()[slave] == "master"
		})
		here.write(master, 501, 600)
		there.fills(slave, 600)
		there.who2(slave, spare)
		there.write(slave, 1001, 1010)
		held := len(there.holds(slave))
		here.write(master, 601, 700) // a backup of these comes too late
		here.wantBackup(file, 700)
		time.Sleep(3 * lookEvery)
		for _, id := range []string{slave, spare} {
			there.fills(id, held)
		}
		if held != 610 {
			t.Errorf("the warm spare has %d records; want the 600 of the backup and 10 more", held)
		}
	})
}

func TestDamagedBackupBeginsNoGroup(t *testing.T) {
	c := newCluster(t, "127.0.0.1:1", nil) // no Consul is needed to find out
	good := encoded(t, testBackup(t, 100))
	file := filepath.Join(t.TempDir(), "red.backup")
	for name, content := range map[string][]byte{
		"its bytes have changed":          append([]byte(backupMagic+backupVersion+"\n"), strings.Replace(string(good[len(backupMagic)+2:]), "c", "d", 1)...),
		"does not end with its check":     good[:len(good)-7],
		`version "9": want 1`:             []byte(strings.Replace(string(good), "backup 1", "backup 9", 1)),
		"it does not begin with":          []byte("records\n"),
		"records, more than its":          sealed([]byte(backupMagic+backupVersion+"\n"+`{"history":"h","epoch":1,"records":33554432,"last":"c 1"}`+"\n"), packed("c 1\n")),
		"no such file or directory":       nil,
		"--restore-over and --warm-spare": nil,
	} {
		os.Remove(file)
		if content != nil {
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		args, want := []string{"--id=1", "--listen=127.0.0.1:0", "--restore=" + file}, 1
		if strings.HasPrefix(name, "--") {
			args, want = []string{"--id=1", "--warm-spare"}, 2
		}
		if out, status := c.run(args...); status != want || !strings.Contains(out, strings.ReplaceAll(name, `"`, `\"`)) {
			t.Errorf("exit status got %d, %s; want %d and %q", status, out, want, name)
		}
	}
}

// TestWarmSpareKeepsTheNewestBackup: one that is older, or of other data, does not take its place.
func TestWarmSpareKeepsTheNewestBackup(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "backup")
	put := func(b *backup) {
		t.Helper()
		if err := os.WriteFile(path+".next", encoded(t, b), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".next", path); err != nil {
			t.Fatal(err)
		}
	}
	other := testBackup(t, 9)
	other.History = "other"
	r := &restoring{path: path, warm: true}
	for _, c := range []struct {
		name string
		b    *backup
		want int
		why  string
	}{
		{"the first", testBackup(t, 3), 3, ""},
		{"a newer one", testBackup(t, 5), 5, ""},
		{"an older one", testBackup(t, 4), 5, "it is not taken"},
		{"one of another history", other, 5, "it is not taken"},
		{"the same again", testBackup(t, 5), 5, ""},
		{"a newer one after them", testBackup(t, 6), 6, ""},
	} {
		put(c.b)
		err := r.look()
		if (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: got %v; want %q", c.name, err, c.why)
		}
		if got := r.read.Load().Records; got != c.want {
			t.Errorf("%s: got a backup of %d records; want %d", c.name, got, c.want)
		}
	}
}

// TestNoBackupIsReadAfterAClientHasWritten: there is no use for it any more.
func TestNoBackupIsReadAfterAClientHasWritten(t *testing.T) {
	e := &election{restoring: &restoring{}, joined: true}
	for _, pristine := range []bool{true, false} {
		if err := e.conflict(view{index: 1, inSync: inSync{Pristine: pristine}}); err != nil || e.restoring.over.Load() == pristine {
			t.Errorf("pristine %t: got %v, over %t", pristine, err, e.restoring.over.Load())
		}
	}
}

// TestEpochsOnlyGrow: a Consul that was restored from a snapshot names an epoch
// that is over long since, and proxies and slaves have seen later ones.
func TestEpochsOnlyGrow(t *testing.T) {
	me := member{"1", "run-a"}
	for name, c := range map[string]struct {
		inConsul, seen, want uint64
	}{
		"nothing was written down": {0, 0, 1},
		"Consul has the newest":    {7, 7, 8},
		"Consul was set back":      {3, 7, 8},
	} {
		e := &election{self: me, store: newStore(), last: inSync{Epoch: c.seen, Members: []member{me}}}
		if c.inConsul > 0 {
			e.view = view{index: 9, inSync: inSync{Epoch: c.inConsul, Members: []member{me}, History: "h"}}
		}
		if got := e.begin().Epoch; got != c.want {
			t.Errorf("%s: got epoch %d; want %d", name, got, c.want)
		}
	}
}

// TestNewerBackupEndsOnlyATermThatNoClientHasWrittenIn: also in the moment between
// the first record and the set that says so.
func TestNewerBackupEndsOnlyATermThatNoClientHasWrittenIn(t *testing.T) {
	me := member{"1", "run-a"}
	began := point{History: "old", Epoch: 7, Records: 90}
	r := &restoring{}
	r.read.Store(&backup{backupHeader: backupHeader{point: point{History: "old", Epoch: 7, Records: 100}}})
	e := &election{self: me, store: newStore(), restoring: r, term: &term{}, // not pristine
		view: view{index: 9, inSync: inSync{Epoch: 8, Members: []member{me}, History: "new", Restored: &began, Pristine: true}}}
	if !e.wantsBackup(e.candidate()) {
		t.Fatal("the newer backup is not wanted: the case shows nothing")
	}
	if err := e.renew(t.Context()); err != nil || e.term == nil {
		t.Errorf("got %v, and a term that ended: %t; want it to go on", err, e.term == nil)
	}
}
