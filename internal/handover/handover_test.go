package handover

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"hushgate/dataplane"
	"hushgate/internal/wire"
)

// pair returns the two ends of a conversation, and their sockets.
func pair(t testing.TB) (ends [2]*Conn, sockets [2]*net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		sockets[i] = c.(*net.UnixConn)
		conn, release := New(context.Background(), sockets[i])
		ends[i] = conn
		t.Cleanup(func() { release(); _ = c.Close() })
		if err := conn.Within(10 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	return ends, sockets
}

// TestFiles: a file arrives with the message with which it was sent.
func TestFiles(t *testing.T) {
	ends, _ := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	for _, err := range []error{
		ends[0].Send(State, []byte("{}"), nil), ends[0].SendJSON(File, "pipe", w), ends[0].Send(Yours, nil, nil), w.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []struct {
		kind Kind
		body string
		file bool
	}{{State, "{}", false}, {File, `"pipe"`, true}, {Yours, "", false}} {
		k, body, file, err := ends[1].Receive(State, File, Yours)
		if err != nil || k != want.kind || string(body) != want.body || (file != nil) != want.file {
			t.Fatalf("%q %q %v, %v", k, body, file, err)
		}
		if file != nil {
			_, err := io.WriteString(file, "hello")
			if err := errors.Join(err, file.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if text, err := io.ReadAll(r); err != nil || string(text) != "hello" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestRefusal(t *testing.T) {
	ends, _ := pair(t)
	ends[0].Refuse(errors.New("too old"))
	var refused *RefusedError
	if _, _, _, err := ends[1].Receive(Head); !errors.As(err, &refused) || refused.Reason != "too old" {
		t.Errorf("%v", err)
	}
}

// TestStrangeFields: fields that this release does not know are refused; fields that it has learnt since may be missing.
func TestStrangeFields(t *testing.T) {
	var v struct{ A, B int }
	for text, want := range map[string]string{
		`{"A":1,"B":2}`: "", `{"A":1}`: "", `{"A":1,"C":2}`: `unknown field "C"`, `{"A":"x"}`: "string", `{} {}`: "unexpected data after the end", ``: "EOF",
	} {
		if err := Decode([]byte(text), &v); err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// flow draws a connection with every field set.
func flow(t *rapid.T) dataplane.FlowState {
	v := dataplane.FlowState{
		Client: wire.Addr(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "client")), ClientPort: rapid.Uint16().Draw(t, "port"),
		Phase: dataplane.Phase(rapid.IntRange(0, dataplane.Phases-1).Draw(t, "phase")), Told: rapid.Bool().Draw(t, "told"),
		Sought: rapid.Bool().Draw(t, "sought"), Server: dataplane.NoServer, Slot: 0xffff,
	}
	v.Conn.ISS = wire.Seq(rapid.Uint32().Draw(t, "iss"))
	v.Conn.Closing = rapid.Bool().Draw(t, "closing")
	if v.Sought {
		v.Tried[3] = rapid.Uint64().Draw(t, "tried")
		v.FromServer.Octets = rapid.Uint64().Draw(t, "octets")
		v.Server = dataplane.ServerID(rapid.Uint16().Draw(t, "server"))
	}
	if v.Quoted = rapid.Bool().Draw(t, "quoted"); v.Quoted {
		v.TalkOctets = rapid.Uint32().Draw(t, "talk")
		copy(v.TalkHead[:], rapid.SliceOfN(rapid.Byte(), len(v.TalkHead), len(v.TalkHead)).Draw(t, "said"))
	}
	return v
}

// TestRecords: connections arrive as they were sent. A stream with any octet changed, or cut off anywhere, is refused.
func TestRecords(t *testing.T) {
	rapid.Check(t, func(t2 *rapid.T) {
		flows := rapid.SliceOfN(rapid.Custom(flow), 0, 20).Draw(t2, "flows")
		stream := sent(t, func(c *Conn) error {
			w := c.NewWriter()
			for i := range flows {
				if err := w.Write(&flows[i]); err != nil {
					return err
				}
			}
			return w.Close()
		})
		got, err := read(t, stream)
		if err != nil || len(got) != len(flows) {
			t2.Fatalf("%d of %d: %v", len(got), len(flows), err)
		}
		for i := range flows {
			if got[i] != flows[i] {
				t2.Fatalf("connection %d\n%+v\nis\n%+v", i, flows[i], got[i])
			}
		}
		at := rapid.IntRange(0, len(stream)-1).Draw(t2, "at")
		changed := bytes.Clone(stream)
		changed[at] ^= byte(rapid.IntRange(1, 255).Draw(t2, "change"))
		if bytes.EqualFold(changed, stream) { // a hexadecimal digit of the hash, which is read in either case
			return
		}
		if got, err := read(t, changed); err == nil {
			t2.Fatalf("octet %d of %d was changed, and %d connections came", at, len(stream), len(got))
		}
		if _, err := read(t, stream[:at]); err == nil {
			t2.Fatalf("%d of %d octets were enough", at, len(stream))
		}
	})
}

// sent returns what is sent.
func sent(t testing.TB, say func(*Conn) error) []byte {
	t.Helper()
	ends, sockets := pair(t)
	failed := make(chan error, 1)
	go func() { failed <- errors.Join(say(ends[0]), sockets[0].CloseWrite()) }()
	stream, err := io.ReadAll(sockets[1])
	if err := errors.Join(err, <-failed); err != nil {
		t.Fatal(err)
	}
	return stream
}

// read reads connections from a stream, to its end.
func read(t testing.TB, stream []byte) (flows []dataplane.FlowState, err error) {
	t.Helper()
	ends, sockets := pair(t)
	go func() {
		_, _ = sockets[0].Write(stream)
		_ = sockets[0].CloseWrite()
	}()
	_, err = ends[1].ReadFlows(dataplane.RecordSchema(), func(f *dataplane.FlowState) error {
		flows = append(flows, *f)
		return nil
	})
	_ = sockets[1].Close()
	return flows, err
}

// FuzzReceive: any stream is refused or understood, and its announced lengths are not trusted.
func FuzzReceive(f *testing.F) {
	end, err := json.Marshal(sum{0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"})
	if err != nil {
		f.Fatal(err)
	}
	message := func(k Kind, body []byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{byte(k)}, uint32(len(body))), body...)
	}
	f.Add(message(End, end))
	f.Add(append(message(Records, dataplane.AppendRecord(nil, &dataplane.FlowState{})), message(End, end)...))
	f.Add(message(No, []byte("no")))
	f.Add([]byte{byte(Records), 3, 255, 255, 255, 0})
	f.Add([]byte{byte(Records), 255, 255, 255, 255, 0})
	f.Fuzz(func(t *testing.T, stream []byte) {
		flows, err := read(t, stream)
		if err == nil && len(flows) > len(stream) {
			t.Errorf("%d connections in %d octets", len(flows), len(stream))
		}
	})
}

// TestCancelled: the end of the context ends the conversation for good, even if a new time limit is set afterwards. After
// Commit it has no effect, and after the end of the context Commit fails.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, sockets := pair(t)
	ended, release := New(ctx, sockets[0])
	defer release()
	committed, release := New(ctx, sockets[1])
	defer release()
	if err := committed.Commit(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, _, _, err := ended.Receive(Take); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("what it waits for: %v", err)
	}
	if err := ended.Within(time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("a new bound: %v", err)
	}
	if err := ended.Commit(); !errors.Is(err, context.Canceled) {
		t.Errorf("to go on for good: %v", err)
	}
	if err := committed.Within(time.Minute); err != nil {
		t.Error(err)
	}
	ended.Refuse(errors.New("the end"))
	var no *RefusedError
	if _, _, _, err := committed.Receive(Yours); !errors.As(err, &no) {
		t.Errorf("the last word: %v", err)
	}
}
