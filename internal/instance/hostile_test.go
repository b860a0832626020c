package instance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/needroot"
)

// serve serves a lock until the test ends. Each command is answered with its name.
func serve(t *testing.T) {
	t.Helper()
	l := acquire(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		ended <- l.Serve(ctx, Handlers{Do: func(_ context.Context, command string) Answer { return Answer{Error: "did " + command} }})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// endless sends a request without end until the other side closes the connection. It returns the number of octets sent and
// the answer.
func endless() (sent int, a Answer, err error) {
	conn, err := net.DialUnix("unix", nil, &address)
	if err != nil {
		return 0, a, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	chunk := bytes.Repeat([]byte("x"), 64<<10)
	for text := []byte(`{"command":"`); ; text = chunk {
		n, err := conn.Write(text)
		sent += n
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
			break
		}
		if err != nil {
			return sent, a, err
		}
		if sent > 1<<30 {
			return sent, a, errors.New("the request was not stopped")
		}
	}
	err = json.NewDecoder(conn).Decode(&a)
	return sent, a, err
}

// strangerOf is set for a process that sends commands to a hushgate of another user.
const strangerOf = "HUSHGATE_TEST_STRANGER_OF"

// stranger sends endless requests on eight connections.
func stranger() int {
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			sent, a, err := endless()
			fmt.Println(sent, a.Error, err)
		})
	}
	group.Wait()
	a, err := Ask(context.Background(), "reload")
	fmt.Println(0, a.Error, err)
	return 0
}

// TestStranger: nothing that another user sends is read, and it costs no memory.
func TestStranger(t *testing.T) {
	needroot.Skip(t, "another user's process")
	serve(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	program := "/proc/self/fd/3" // its directory is closed to other users
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = self.Close() }()
	cmd := exec.Command(program)
	cmd.ExtraFiles = []*os.File{self}
	cmd.Env = append(os.Environ(), strangerOf+"="+address.Name)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	runtime.ReadMemStats(&after)
	const want = "permission denied: only root and hushgate's own user may do that <nil>"
	if n := strings.Count(string(out), want); err != nil || n != 9 {
		t.Errorf("%v, %d refusals:\n%s", err, n, out)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
		t.Errorf("%d octets of memory", took)
	}
	a, err := Ask(t.Context(), "reload")
	if err != nil || a.Error != "did reload" {
		t.Errorf("root got %+v, %v", a, err)
	}
}

// TestEndlessRequest: root's requests are bounded too.
func TestEndlessRequest(t *testing.T) {
	serve(t)
	sent, a, err := endless()
	if err != nil || a.Error != "the request has more than 4096 octets" {
		t.Errorf("%d octets, %+v, %v", sent, a, err)
	}
}

// TestSilentClients: clients that send nothing do not keep others from sending commands, and clients beyond the bound are
// refused at once.
func TestSilentClients(t *testing.T) {
	serve(t)
	dialed := func() *net.UnixConn {
		conn, err := net.DialUnix("unix", nil, &address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	for range maxConnections - 1 {
		dialed()
	}
	if a, err := Ask(t.Context(), "reload"); err != nil || a.Error != "did reload" {
		t.Errorf("%+v, %v", a, err)
	}
	dialed()
	a, err := Ask(t.Context(), "reload")
	for end := time.Now().Add(5 * time.Second); err == nil && a.Error == "did reload" && time.Now().Before(end); {
		a, err = Ask(t.Context(), "reload") // its own place may be free again before the last one takes it
	}
	if want := fmt.Sprintf("hushgate has %d commands at once already", maxConnections); err != nil || a.Error != want {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestRequests: a malformed request is answered with what was expected.
func TestRequests(t *testing.T) {
	serve(t)
	for _, c := range []struct{ say, want string }{
		{`{"command":"reload"}` + "\n", "did reload"},
		{`{"command":"reload"}`, "did reload"},
		{"reload\n", `expected {"command":"..."}, found "reload"`},
		{"", ""},
	} {
		conn, err := net.DialUnix("unix", nil, &address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = io.WriteString(conn, c.say)
		if err := errors.Join(err, conn.CloseWrite()); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(conn)
		var a Answer
		if len(text) > 0 {
			err = errors.Join(err, json.Unmarshal(text, &a))
		}
		if err != nil || !strings.HasPrefix(a.Error, c.want) || (c.want == "") != (len(text) == 0) {
			t.Errorf("%q: %q, %v", c.say, text, err)
		}
		_ = conn.Close()
	}
}
