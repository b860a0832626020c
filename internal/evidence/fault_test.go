package evidence

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// faulty is a disk that fails as configured.
type faulty struct {
	osDisk
	mu                                           sync.Mutex // guards what follows
	room                                         int        // octets of free space
	onCreate, onWrite, onCut, onRename, onRemove error
}

type faultyFile struct {
	file
	d *faulty
}

func (d *faulty) create(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.onCreate != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: d.onCreate}
	}
	f, err := d.osDisk.create(name)
	return faultyFile{f, d}, err
}

func (d *faulty) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.onRename != nil {
		return d.onRename
	}
	return d.osDisk.rename(from, to)
}

func (d *faulty) remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.onRemove != nil {
		return d.onRemove
	}
	return d.osDisk.remove(name)
}

// Write writes as much as there is room for, as the kernel does.
func (f faultyFile) Write(b []byte) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.onWrite != nil {
		return 0, f.d.onWrite
	}
	part := b[:min(len(b), f.d.room)]
	n, err := f.file.Write(part)
	f.d.room -= n
	if err == nil && len(part) < len(b) {
		err = unix.ENOSPC
	}
	return n, err
}

func (f faultyFile) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.onCut != nil {
		return f.d.onCut
	}
	return f.file.Truncate(size)
}

// failing is a Keeper on a disk that fails, with its reports.
type failing struct {
	*Keeper
	t       *testing.T
	d       *faulty
	dir     string
	reports []Report
	sent    uint64
}

const plenty = 1 << 30

var tBounds = Bounds{Size: 4000, Files: 3, Age: 1000 * time.Hour}

// withFailing runs f in a bubble with simulated time.
func withFailing(t *testing.T, f func(t *testing.T, k *failing)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		k := &failing{t: t, d: &faulty{room: plenty}, dir: t.TempDir()}
		var err error
		if k.Keeper, err = newKeeper(filepath.Join(k.dir, "rejected.pcapng"), tBounds, "test", time.Now, func(r Report) {
			k.reports = append(k.reports, r)
		}); err != nil {
			t.Fatal(err)
		}
		k.files.disk = k.d
		go k.run()
		defer func() { _ = k.Close() }()
		f(t, k)
		_ = k.Close()
		if files := k.names(); strings.Contains(files, draft) {
			t.Errorf("drafts are left: %s", files)
		}
	})
}

// disk sets how the disk fails from now on.
func (k *failing) disk(set func(d *faulty)) {
	k.d.mu.Lock()
	defer k.d.mu.Unlock()
	set(k.d)
}

// keep passes n cases to the Keeper, one after the other.
func (k *failing) keep(n int) {
	for range n {
		k.Keep(tCase())
		k.sent++
		synctest.Wait()
	}
}

func (k *failing) names() string {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return err.Error()
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// all counts the packets in all files. No file may be empty or end in the middle of a packet.
func (k *failing) all() (n uint64) {
	k.t.Helper()
	files, err := filepath.Glob(filepath.Join(k.dir, "*.pcapng"))
	if err != nil {
		k.t.Fatal(err)
	}
	for _, f := range files {
		packets := kept(k.t, f)
		if packets == 0 {
			k.t.Errorf("%s is empty", f)
		}
		n += uint64(packets)
	}
	return n
}

// TestFullDisk checks a full disk. Written files stay unchanged, no file is made or removed, and one report a minute has the
// number of lost cases. When there is room again, writing continues, with the cases that could wait.
func TestFullDisk(t *testing.T) {
	withFailing(t, func(t *testing.T, k *failing) {
		k.keep(200) // several files
		if k.all() == 200 {
			t.Fatal("no old file was removed: this test shows nothing")
		}
		before, had := k.names(), k.all()
		k.disk(func(d *faulty) { d.room = 50 }) // less than a case needs
		for range 200 {
			k.keep(10)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if k.names() != before || k.all() != had {
			t.Errorf("%s with %d packets have become %s with %d", before, had, k.names(), k.all())
		}
		if len(k.reports) != 3 { // at once, when the first are lost after 103 s, and a minute later
			t.Errorf("%d reports: %v", len(k.reports), k.reports)
		}
		for _, r := range k.reports {
			if !errors.Is(r.Err, unix.ENOSPC) || !strings.Contains(r.Err.Error(), "write "+k.files.path+": no space") {
				t.Error(r)
			}
		}
		k.disk(func(d *faulty) { d.room = plenty })
		time.Sleep(retry)
		synctest.Wait()
		k.keep(3)
		time.Sleep(silence)
		synctest.Wait()
		if last := k.reports[len(k.reports)-1]; last.Err != nil {
			t.Errorf("after all is well: %v", last)
		}
		said := uint64(0)
		for _, r := range k.reports {
			said += r.Lost
		}
		if said != k.Lost() {
			t.Errorf("%d were reported as lost, of %d", said, k.Lost())
		}
		if k.Lost() != 2000-backlog-1 { // one was tried, and as many waited as fit into the backlog
			t.Errorf("%d were lost", k.Lost())
		}
	})
}

// TestFullAtRotation checks that old files stay until a new file has taken its place, if the disk is full at that moment.
func TestFullAtRotation(t *testing.T) {
	withFailing(t, func(t *testing.T, k *failing) {
		for k.sent == 0 || k.files.room() > 0 {
			k.keep(1)
		}
		before, had := k.names(), k.all()
		k.disk(func(d *faulty) { d.room = len(k.files.header) + 10 })
		k.keep(5)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if k.names() != before || k.all() != had {
			t.Errorf("%s with %d packets have become %s with %d", before, had, k.names(), k.all())
		}
		k.disk(func(d *faulty) { d.room = plenty })
		time.Sleep(retry)
		synctest.Wait()
		if k.all() != k.sent || k.Lost() != 0 || k.names() == before {
			t.Errorf("%d packets of %d in %s, %d lost", k.all(), k.sent, k.names(), k.Lost())
		}
	})
}

// TestFaults checks every kind of failure, while a file is written and while a new one is begun: nothing is lost that can
// wait, and everything is written afterwards.
func TestFaults(t *testing.T) {
	for name, set := range map[string]func(d *faulty, err error){
		"create": func(d *faulty, err error) { d.onCreate, d.onWrite = err, err }, // the present file fails, and no other can be made
		"write":  func(d *faulty, err error) { d.onWrite = err },
		"rename": func(d *faulty, err error) { d.onRename, d.onWrite = err, err },
		"cut": func(d *faulty, err error) {
			d.onCut = err
			if d.room = 10; err == nil {
				d.room = plenty
			}
		},
	} {
		for _, err := range []error{unix.ENOSPC, unix.EDQUOT, unix.EMFILE, unix.ENFILE, unix.EIO, unix.EROFS, unix.EACCES, unix.EPERM} {
			withFailing(t, func(t *testing.T, k *failing) {
				k.keep(3)
				k.disk(func(d *faulty) { set(d, err) })
				k.keep(4)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if len(k.reports) != 1 || k.reports[0].Err == nil {
					t.Errorf("%s, %v: %v", name, err, k.reports)
				}
				k.disk(func(d *faulty) { set(d, nil) })
				time.Sleep(2 * retry)
				synctest.Wait()
				if name == "cut" { // the file may end in the middle of a packet, and another one is begun
					return
				}
				if k.all() != 7 || k.Lost() != 0 {
					t.Errorf("%s, %v: %d packets in %s, %d lost", name, err, k.all(), k.names(), k.Lost())
				}
			})
		}
	}
}

// TestCutFails checks that the file is left as it is if a partial packet cannot be removed from it, and that another file
// gets the rest.
func TestCutFails(t *testing.T) {
	withFailing(t, func(t *testing.T, k *failing) {
		k.keep(3)
		k.disk(func(d *faulty) { d.room, d.onCut = 10, unix.EIO })
		k.keep(4)
		k.disk(func(d *faulty) { d.room = plenty })
		time.Sleep(2 * retry)
		synctest.Wait()
		if n := kept(t, k.files.path); n != 4 {
			t.Errorf("%d packets in the new file of %s", n, k.names())
		}
	})
}

// TestCannotRemove checks that a failure to remove old files is reported, and that new cases are written.
func TestCannotRemove(t *testing.T) {
	withFailing(t, func(t *testing.T, k *failing) {
		k.disk(func(d *faulty) { d.onRemove = unix.EACCES })
		k.keep(200)
		if len(k.reports) != 1 || !errors.Is(k.reports[0].Err, unix.EACCES) || k.Lost() != 0 || k.all() != 200 {
			t.Errorf("%v, %d lost, %d packets", k.reports, k.Lost(), k.all())
		}
		k.disk(func(d *faulty) { d.onRemove = nil })
		time.Sleep(2 * lookAway)
		synctest.Wait()
		if len(k.reports) != 2 || k.reports[1].Err != nil {
			t.Errorf("%v", k.reports)
		}
	})
}

// TestRemoved checks that a removed file is made again, and a file in a removed directory when the directory exists again.
func TestRemoved(t *testing.T) {
	withFailing(t, func(t *testing.T, k *failing) {
		k.keep(3)
		if err := os.Remove(k.files.path); err != nil {
			t.Fatal(err)
		}
		k.keep(2)
		if k.all() != 2 {
			t.Errorf("%d packets in %s", k.all(), k.names())
		}
		if err := os.RemoveAll(k.dir); err != nil {
			t.Fatal(err)
		}
		k.keep(5)
		time.Sleep(5 * retry)
		synctest.Wait()
		if len(k.reports) != 1 || !errors.Is(k.reports[0].Err, fs.ErrNotExist) {
			t.Errorf("%v", k.reports)
		}
		if err := os.Mkdir(k.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * retry)
		synctest.Wait()
		if k.all() != 5 || k.Lost() != 0 {
			t.Errorf("%d packets in %s", k.all(), k.names())
		}
	})
}

// TestEmptyFiles checks that empty files of an earlier version are removed and not counted, and that an empty present file
// is not kept.
func TestEmptyFiles(t *testing.T) {
	withFailing(t, func(t *testing.T, k *failing) {
		for _, name := range []string{
			"rejected.pcapng", "rejected-20260101T000000.pcapng", "rejected-20260101T000001.pcapng", "rejected-20260101T000002.1.pcapng",
		} {
			if err := os.WriteFile(filepath.Join(k.dir, name), k.files.header, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		full := filepath.Join(k.dir, "rejected-20250101T000000.pcapng")
		k.encode(new(tCase()))
		if err := os.WriteFile(full, append(k.files.header, k.encoded.Bytes()...), 0o600); err != nil {
			t.Fatal(err)
		}
		k.encoded.Reset()
		year := time.Now().Add(-time.Hour)
		if err := os.Chtimes(full, year, year); err != nil {
			t.Fatal(err)
		}
		crashed := filepath.Join(k.dir, "rejected.pcapng.77-1"+draft)
		if err := os.WriteFile(crashed, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(crashed, year, year); err != nil {
			t.Fatal(err)
		}
		k.keep(1)
		if got := k.names(); got != "rejected-20250101T000000.pcapng rejected.pcapng" || k.all() != 2 {
			t.Errorf("%s, %d packets", got, k.all())
		}
	})
}

// TestNoReportStorm checks that there is one report a minute if the disk fails again and again.
func TestNoReportStorm(t *testing.T) {
	withFailing(t, func(t *testing.T, k *failing) {
		for range 300 {
			k.disk(func(d *faulty) { d.onWrite = unix.EIO })
			k.keep(1)
			time.Sleep(retry / 2)
			synctest.Wait()
			k.disk(func(d *faulty) { d.onWrite = nil })
			time.Sleep(retry)
			synctest.Wait()
			k.keep(1)
		}
		if n := len(k.reports); n < 2 || n > 9 { // in 450 s
			t.Errorf("%d reports", n)
		}
		if k.Lost() != 0 {
			t.Errorf("%d lost", k.Lost())
		}
	})
}

// stuck is a disk that does not answer.
type stuck struct {
	osDisk
	answer chan struct{}
}

func (d stuck) create(string) (file, error) {
	<-d.answer
	return nil, unix.EIO
}

// TestStuckDisk checks that Close does not wait for a disk that does not answer.
func TestStuckDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, err := newKeeper(filepath.Join(t.TempDir(), "x.pcapng"), tBounds, "test", time.Now, func(Report) {})
		if err != nil {
			t.Fatal(err)
		}
		d := stuck{answer: make(chan struct{})}
		k.files.disk = d
		go k.run()
		k.Keep(tCase())
		if err := k.Close(); err == nil || !strings.Contains(err.Error(), "has not answered") {
			t.Error(err)
		}
		close(d.answer)
		<-k.done
		if k.Lost() != 1 {
			t.Errorf("%d lost", k.Lost())
		}
	})
}
