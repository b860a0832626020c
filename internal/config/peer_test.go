package config

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"hushgate/internal/unusedport"
)

// Some tests ask HAProxy itself what its files mean.

// haproxyProgram finds HAProxy. Where every test must run, its absence is an error.
func haproxyProgram(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		if os.Getenv("HUSHGATE_LAB") == "1" {
			t.Fatal("haproxy is not installed")
		}
		t.Skip("SKIPPED: haproxy is not installed, so nothing was compared with it")
	}
	return program
}

// askHAProxy lets HAProxy check a file. A correct file with nothing to serve counts as accepted.
func askHAProxy(t *testing.T, text string) (accepted bool, messages string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(haproxyProgram(t), "-c", "-f", file)
	cmd.Env = append(os.Environ(), "MX=10.0.0.11", "EMPTY=", "LIST=inter 3s  rise 4")
	out, err := cmd.CombinedOutput()
	const nothingToServe = 2
	return err == nil || cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == nothingToServe, string(out)
}

// patience is how long a test waits for an expected event. A test that passes waits for nothing else.
const patience = 20 * time.Second

// proxyProcess is a running HAProxy, with the test's own clients, servers and log receivers around it.
type proxyProcess struct {
	t       *testing.T
	cmd     *exec.Cmd
	ended   chan struct{}
	client  net.Addr                // where its frontend listens
	control net.Addr                // its control socket
	servers map[string]net.Listener // by name: A, B
	logs    map[string]*net.UDPConn
}

// startHAProxy runs a file in which {BIND} is the frontend's address, {A} and {B} are servers, {NONE} is a port without a
// listener, and {LOGA} and {LOGB} are receivers of logs. HAProxy inherits its sockets, so the test need not wait until it is
// ready.
func startHAProxy(t *testing.T, text string) *proxyProcess {
	t.Helper()
	p := &proxyProcess{t: t, ended: make(chan struct{}), servers: map[string]net.Listener{}, logs: map[string]*net.UDPConn{}}
	front, control := p.listen("tcp", "127.0.0.1:0"), p.listen("unix", filepath.Join(t.TempDir(), "control"))
	p.client, p.control = front.Addr(), control.Addr()
	words := []string{"{BIND}", "fd@3"}
	for _, name := range []string{"A", "B"} {
		p.servers[name] = p.listen("tcp", "127.0.0.1:0")
		at := p.servers[name].Addr().(*net.TCPAddr)
		words = append(words, "{"+name+"}", at.String(), "{PORT"+name+"}", strconv.Itoa(at.Port))
		receiver, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = receiver.Close() })
		p.logs[name] = receiver
		words = append(words, "{LOG"+name+"}", receiver.LocalAddr().String())
	}
	words = append(words, "{NONE}", net.JoinHostPort("127.0.0.1", unusedport.Pick(t)))
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	text = "global\n    stats socket fd@4 level admin\n" + strings.NewReplacer(words...).Replace(text)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(haproxyProgram(t), "-db", "-f", file)
	p.cmd.ExtraFiles = []*os.File{p.file(front), p.file(control)}
	var messages bytes.Buffer
	p.cmd.Stdout, p.cmd.Stderr = &messages, &messages
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%s\n%s", text, messages.String())
		}
	})
	return p
}

func (p *proxyProcess) listen(network, address string) net.Listener {
	p.t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = l.Close() })
	return l
}

func (p *proxyProcess) file(l net.Listener) *os.File {
	p.t.Helper()
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = f.Close() })
	return f
}

// ask runs a command on the control socket.
func (p *proxyProcess) ask(command string) string {
	p.t.Helper()
	c, err := net.Dial("unix", p.control.String())
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintln(c, command)
	answer, err := io.ReadAll(c)
	if err != nil {
		p.t.Fatalf("%s: %v", command, err)
	}
	return string(answer)
}

// info returns a value of `show info`.
func (p *proxyProcess) info(name string) string {
	for line := range strings.Lines(p.ask("show info")) {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// stat returns a value of `show stat` of a proxy's FRONTEND, BACKEND or server.
func (p *proxyProcess) stat(proxy, server, name string) string {
	lines := strings.Split(p.ask("show stat"), "\n")
	heads := strings.Split(strings.TrimPrefix(lines[0], "# "), ",")
	for _, line := range lines[1:] {
		values := strings.Split(line, ",")
		if len(values) < 2 || values[0] != proxy || values[1] != server {
			continue
		}
		for i, head := range heads {
			if head == name && i < len(values) {
				return values[i]
			}
		}
	}
	return ""
}

// connect opens a client's connection.
func (p *proxyProcess) connect() net.Conn {
	p.t.Helper()
	c, err := net.Dial("tcp", p.client.String())
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// accept accepts a connection at a server.
func (p *proxyProcess) accept(server string) net.Conn {
	p.t.Helper()
	l := p.servers[server]
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	c, err := l.Accept()
	if err != nil {
		p.t.Fatalf("server %s: %v", server, err)
	}
	p.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// greet lets each server send its name on each connection.
func (p *proxyProcess) greet() {
	for name, l := range p.servers {
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintf(c, "220 %s\r\n", name)
				_ = c.Close()
			}
		}()
	}
}

// line reads a line. It returns the empty string if the connection ends without one.
func line(c net.Conn) string {
	text, _ := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(text)
}

var anyClient = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// lines counts the log lines that a receiver gets for one client that is served.
func (p *proxyProcess) lines(receiver string) (n int) {
	p.t.Helper()
	p.greet()
	for range 2 {
		c := p.connect()
		line(c)
		_ = c.Close()
	}
	// The lines of one connection are sent together, so the first line of the second connection shows that those of the
	// first have all arrived.
	first := ""
	buf := make([]byte, 2048)
	_ = p.logs[receiver].SetReadDeadline(time.Now().Add(patience))
	for {
		size, err := p.logs[receiver].Read(buf)
		if err != nil {
			p.t.Fatalf("log %s: %v", receiver, err)
		}
		client := anyClient.FindString(string(buf[:size]))
		if client == "" {
			continue // a notice of the start
		}
		if first == "" {
			first = client
		}
		if client != first {
			return n
		}
		n++
	}
}
