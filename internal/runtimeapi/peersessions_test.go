package runtimeapi

import (
	"bufio"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
)

// greeter is a server that greets its clients and keeps them.
func greeter(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				if _, err := io.WriteString(conn, "220 mx1\r\n"); err == nil {
					_, _ = io.Copy(io.Discard, conn)
				}
			}()
		}
	}()
	return l.Addr().String()
}

var (
	// sessionIs finds what the two have in common of a session.
	sessionIs = regexp.MustCompile(`proto=tcp\S+|src=\S+|(?:fe|be|srv|ts|rc|mode)=[^ ,)\n]+|state=[A-Z]+|source=\S+|(?:frontend|backend|server)=\S+ \(id=-?\d+|addr=\S+:\d+`)
	// sessionKeys finds the names of all values.
	sessionKeys = regexp.MustCompile(`\w+=|\w+\[|^ +\w+:`)
)

// TestSessionsLikeHAProxy: what HAProxy says of real sessions, hushgate says of the same, in the same place; and what ends them there
// ends them here.
func TestSessionsLikeHAProxy(t *testing.T) {
	mx1 := greeter(t)
	theirs := startPeer(t, peerConfig, mx1)
	f := newFake()
	f.servers[0].Address = mx1
	ours, _ := start(t, f, usual)
	list := func(path, command string) (sessions []string) {
		t.Helper()
		for s := range strings.SplitSeq(strings.TrimSpace(strings.ReplaceAll(ask(t, path, command+"\n"), "\n0x", "\x000x")), "\x00") {
			if strings.Contains(s, "proto=tcp") { // not that of the command itself
				sessions = append(sessions, s)
			}
		}
		return sessions
	}
	var clients []net.Conn
	for i, front := range theirs.fronts {
		conn, err := net.Dial("tcp", front)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, conn)
		s := sessions()[1]
		id, _, _ := strings.Cut(list(theirs.sockets[Operator], "show sess")[i], ":")
		if err := s.ID.UnmarshalText([]byte(id)); err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(list(theirs.sockets[Operator], "show sess all")[i], "backend=mail (id=3 mode=tcp) addr=")
		s.Source, _, _ = strings.Cut(rest, "\n")
		s.Client, s.Service, s.Retries = conn.LocalAddr().String(), front, 0
		f.sessions = append(f.sessions, s)
	}
	for _, command := range []string{"show sess", "show sess all", "show sess " + f.sessions[1].ID.String()} {
		want, got := list(theirs.sockets[Operator], command), list(ours[Operator], command)
		if len(want) != len(got) {
			t.Fatalf("%s\nHAProxy: %q\nhushgate: %q", command, want, got)
		}
		for i := range want {
			w, g := sessionIs.FindAllString(want[i], -1), sessionIs.FindAllString(got[i], -1)
			if strings.Join(w, " ") != strings.Join(g, " ") {
				t.Errorf("%s\nHAProxy: %q\nhushgate: %q", command, w, g)
			}
			w = sessionKeys.FindAllString(want[i], -1)
			for _, key := range sessionKeys.FindAllString(before(got[i], "\n  hushgate:"), -1) {
				for len(w) > 0 && w[0] != key {
					w = w[1:]
				}
				if len(w) == 0 {
					t.Errorf("%s: HAProxy has no %s there\n%s\n%s", command, key, want[i], got[i])
				}
			}
		}
	}
	first := "shutdown session " + f.sessions[0].ID.String()
	for _, command := range []string{first, first, "shutdown sessions server mail/mx1"} {
		if want, got := ask(t, theirs.sockets[Admin], command+"\n"), ask(t, ours[Admin], command+"\n"); want != got {
			t.Errorf("%s: HAProxy says %q, hushgate %q", command, want, got)
		}
		if command == first {
			_, _ = io.Copy(io.Discard, clients[0])
		}
	}
	_, _ = io.Copy(io.Discard, clients[1])
	if want, got := list(theirs.sockets[Operator], "show sess"), list(ours[Operator], "show sess"); len(want)+len(got) > 0 {
		t.Errorf("HAProxy has %q, hushgate has %q", want, got)
	}
}

func before(s, sep string) string {
	s, _, _ = strings.Cut(s, sep)
	return s
}
