package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"hushgate/dataplane"
	"hushgate/internal/capture"
	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

func tPeer(n int) dataplane.Peer {
	return dataplane.Peer{Client: wire.AddrFrom4([]byte{198, 18, 0, byte(n)}), Port: uint16(n), Service: 1}
}

// TestMemory compares a Memory with a list of everything: Take returns the latest packets, complete and in order, and a full
// ring drops the oldest first.
func TestMemory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := NewMemory(rapid.IntRange(0, 20_000).Draw(t, "size"))
		said := map[int][]Packet{}
		for i := range rapid.IntRange(1, 300).Draw(t, "packets") {
			n := rapid.IntRange(1, 5).Draw(t, "peer")
			switch rapid.IntRange(0, 20).Draw(t, "what") {
			case 0:
				compare(t, said[n], m.Take(tPeer(n)))
				delete(said, n)
			case 1:
				m.Forget(tPeer(n))
				delete(said, n)
			default:
				data := bytes.Repeat([]byte{byte(i)}, rapid.IntRange(20, 2*Keep).Draw(t, "length"))
				p := Packet{At: mono.Time(i), Data: data[:min(len(data), Keep)], Length: len(data), Ours: i%2 == 0}
				m.Witness(tPeer(n), p.At, append(make([]byte, wire.PacketAt), data...), p.Ours)
				said[n] = append(said[n], p)
			}
		}
		for n, want := range said {
			got := m.Take(tPeer(n))
			compare(t, want, got)
			last := want[len(want)-1]
			if len(got) == 0 && last.At == mono.Time(299) {
				t.Fatal("the latest packet is gone")
			}
		}
		if len(m.last) != 0 {
			t.Fatalf("%d connections are left in the index", len(m.last))
		}
	})
}

// compare checks that got is the end of put.
func compare(t *rapid.T, put, got []Packet) {
	t.Helper()
	if len(got) > len(put) {
		t.Fatalf("%d packets of %d", len(got), len(put))
	}
	for i, p := range got {
		w := put[len(put)-len(got)+i]
		if p.At != w.At || p.Ours != w.Ours || p.Length != w.Length || !bytes.Equal(p.Data, w.Data) {
			t.Fatalf("packet %d is %+v, want %+v", i, p, w)
		}
	}
}

// TestMemoryIsEnough checks that a ring of the default size loses nothing in the expected use.
func TestMemoryIsEnough(t *testing.T) {
	m := NewMemory(DefaultMemory)
	frame := make([]byte, wire.PacketAt+60)
	for n := range 50_000 {
		p := dataplane.Peer{Port: uint16(n), Service: dataplane.ServiceID(n >> 16)}
		for range 3 {
			m.Witness(p, 1, frame, false)
		}
	}
	if got := m.Take(dataplane.Peer{}); len(got) != 3 {
		t.Errorf("%d packets of the first connection", len(got))
	}
}

func BenchmarkWitness(b *testing.B) {
	m := NewMemory(DefaultMemory)
	frame := make([]byte, wire.PacketAt+60)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		m.Witness(dataplane.Peer{Port: uint16(n), Service: dataplane.ServiceID(n >> 16 & 1)}, 1, frame, false)
	}
}

// kept reads the packets of a file.
func kept(t *testing.T, file string) (n int) {
	t.Helper()
	r, err := capture.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var p capture.Packet
	for {
		err := r.Next(&p)
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
}

func TestKeeper(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "rejected.pcapng")
	for _, name := range []string{"rejected-notes.pcapng", "rejected-20010101T000000.txt", "other-20010101T000000.pcapng"} { // not the Keeper's
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, []byte("cut off by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	start := func() *Keeper {
		k, err := NewKeeper(file, Bounds{Size: 4000, Files: 3, Age: 3 * time.Hour}, "test", func() time.Time { return now },
			func(r Report) { t.Error(r) })
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	cases := Case{
		Wall: func(m mono.Time) time.Time { return now.Add(time.Duration(m)) }, Comment: "early-talker",
		Packets: []Packet{{Data: make([]byte, 60), Length: 1000}, {At: 1, Data: make([]byte, 40), Length: 40, Ours: true}},
	}
	k := start()
	k.Keep(cases)
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	k.Keep(cases) // too late, and harmless
	b, err := os.ReadFile(file)
	if err != nil || kept(t, file) != 2 || !bytes.Contains(b, []byte("hushgate: early-talker")) {
		t.Errorf("%d octets, %v", len(b), err)
	}
	k = start()
	for range 100 {
		k.Keep(cases)
	}
	if err := k.Close(); err != nil || k.Lost() != 0 {
		t.Fatal(err, k.Lost())
	}
	files, total := ours(t, dir)
	if names, err := Files(file); err != nil || len(names) != 3 || names[2] != file || !strings.HasPrefix(filepath.Base(names[0]), "rejected-2") {
		t.Errorf("the files are %v, %v", names, err)
	}
	if files != 3 || total > 3*(4000+1000) {
		t.Errorf("%d files with %d octets", files, total)
	}
	now = now.Add(4 * time.Hour)
	k = start()
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if files, _ := ours(t, dir); files != 0 {
		t.Errorf("%d files when all are too old", files)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 {
		t.Errorf("%v: files that are not ours are gone", entries)
	}
}

// TestSucceed checks that a successor touches no file of its predecessor before it has a case to keep, and that neither
// loses any.
func TestSucceed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "rejected.pcapng")
		bounds, report := Bounds{Size: 4000, Files: 3, Age: 3 * time.Hour}, func(r Report) { t.Error(r) }
		now := func() time.Time { return time.Unix(1_700_000_000, 0) } // the files are younger than this, so none is too old
		before, err := NewKeeper(file, bounds, "before", now, report)
		if err != nil {
			t.Fatal(err)
		}
		before.Keep(tCase())
		synctest.Wait()
		for range 5 { // these do not take over
			k, err := Succeed(file, bounds, "fails", now, report)
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Close(); err != nil {
				t.Error(err)
			}
		}
		next, err := Succeed(file, bounds, "next", now, report)
		if err != nil {
			t.Fatal(err)
		}
		next.Keep(tCase())
		synctest.Wait()
		before.Keep(tCase()) // goes into the same file as the one before
		next.Keep(tCase())
		if err := errors.Join(next.Close(), before.Close()); err != nil {
			t.Error(err)
		}
		old, err := filepath.Glob(filepath.Join(dir, "rejected-*.pcapng"))
		if err != nil || len(old) != 1 || kept(t, old[0]) != 2 || kept(t, file) != 2 {
			t.Errorf("%v, %v: %d packets in %s", old, err, kept(t, file), file)
		}
		if _, err := Succeed(filepath.Join(dir, "none", "x.pcapng"), bounds, "", now, report); err == nil {
			t.Error("no directory to write to")
		}
	})
}

// tCase is a case with one packet.
func tCase() Case {
	return Case{Wall: func(mono.Time) time.Time { return time.Unix(1, 0) }, Packets: []Packet{{Data: make([]byte, 40), Length: 40}}, Comment: "x"}
}

func ours(t *testing.T, dir string) (files int, total int64) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "rejected*.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		info, err := os.Stat(n)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(n, "notes.pcapng") {
			continue
		}
		files++
		total += info.Size()
	}
	return files, total
}

func TestBadFiles(t *testing.T) {
	for _, path := range []string{"x.pcap", filepath.Join(t.TempDir(), "none", "x.pcapng"), t.TempDir()} {
		if _, err := NewKeeper(path, Bounds{1, 1, 1}, "", time.Now, func(Report) {}); err == nil {
			t.Error(path)
		} else if !strings.Contains(err.Error(), "keep captures in") && !strings.Contains(err.Error(), "keep captures:") {
			t.Error(fmt.Sprint(err))
		}
	}
}
