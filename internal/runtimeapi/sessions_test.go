package runtimeapi

import (
	"bufio"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"hushgate/internal/admin"
)

// sessions are a held one and one with a server, of each family.
func sessions() []admin.Connection {
	left := int64(61_000)
	return []admin.Connection{
		{ID: 0x1f, Client: "198.18.0.7:4000", Service: "192.0.2.25:25", Frontend: "smtp", Backend: "mail", Phase: "held", AgeMs: 59_999, DelayLeftMs: &left},
		{
			ID: 0x2000000000000001, Client: "[2001:db8::7]:4001", Service: "[2001:db8:1::25]:25", Frontend: "smtp", Backend: "mail", Server: "mx1",
			Phase: "spliced", AgeMs: 90_061_000, Retries: 1, BytesToServer: 12, BytesToClient: 34, Rule: "delay", Source: "[2001:db8:2::1]:99",
		},
	}
}

// TestSessions: sessions are listed part by part, in both forms, and ended by their ids or by their server.
func TestSessions(t *testing.T) {
	f := newFake()
	f.sessions = sessions()
	paths, _ := start(t, f, usual)
	list := ask(t, paths[Operator], "show sess\n")
	want := "0x1f: proto=tcpv4 src=198.18.0.7:4000 fe=smtp be=<NONE> srv=<none> ts=00 epoch=0 age=59s calls=0 rate=0 cpu=0 lat=0 " +
		"rq[f=000000h,i=0,an=22h,rx=,wx=,ax=1m1s] rp[f=000000h,i=0,an=00h,rx=,wx=,ax=] scf=[8,0h,fd=-1] scb=[0,0h,fd=-1] exp=1m1s rc=0 c_exp=\n" +
		"0x2000000000000001: proto=tcpv6 src=2001:db8::7:4001 fe=smtp be=mail srv=mx1 ts=00 epoch=0 age=1d1h calls=0 rate=0 cpu=0 lat=0 " +
		"rq[f=000000h,i=0,an=00h,rx=,wx=,ax=] rp[f=000000h,i=0,an=00h,rx=,wx=,ax=] scf=[8,0h,fd=-1] scb=[8,0h,fd=-1] exp= rc=1 c_exp=\n\n"
	if list != want {
		t.Errorf("%s\nwant\n%s", list, want)
	}
	if !slices.Equal(f.query.Phases, []string{"held", "spliced"}) {
		t.Errorf("asked for %v", f.query.Phases)
	}
	one := ask(t, paths[Operator], "show sess 0x2000000000000001\n")
	for _, want := range []string{
		"0x2000000000000001: [", "] id=2305843009213693953 proto=tcpv6 source=2001:db8::7:4001\n", "conn_retries=1,",
		"\n  frontend=smtp (id=2 mode=tcp), listener=? (id=0) addr=2001:db8:1::25:25\n  backend=mail (id=3 mode=tcp) addr=2001:db8:2::1:99\n  server=mx1 (id=1) addr=127.0.0.1:26\n",
		" exp=<NEVER> tmask=0x0 age=1d1h)\n", " state=EST\n  req=", " total=12)\n", " total=34)\n", "\n  hushgate: phase=spliced delay=0s observed=false pass= rule=\"delay\"\n\n",
	} {
		if !strings.Contains(one, want) {
			t.Errorf("no %q in\n%s", want, one)
		}
	}
	if all := ask(t, paths[Operator], "show sess all\n"); strings.Count(all, "\n  hushgate: ") != 2 || !strings.Contains(all, "backend=<NONE> (id=-1 mode=-)\n  server=<NONE> (id=-1)\n") {
		t.Errorf("%s", all)
	}
	if got := ask(t, paths[Admin], "shutdown session 0x1f; shutdown session 0x1f; shutdown sessions server mail/mx1; show sess\n"); got != "\n"+string(noSession)+"\n\n\n" {
		t.Errorf("%q", got)
	}
}

// TestSlowReader: a client that does not read a long answer has no turn meanwhile, and gives way to a new client.
func TestSlowReader(t *testing.T) {
	f := newFake()
	for range 10_000 {
		f.sessions = append(f.sessions, sessions()[0])
	}
	paths, _ := start(t, f, Options{Timeout: time.Hour, MaxConn: maxAtOnce})
	var slow []net.Conn
	for range maxAtOnce {
		conn, err := net.Dial("unix", paths[Operator])
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := io.WriteString(conn, "show sess\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil { // it is being answered
			t.Fatal(err)
		}
		slow = append(slow, conn)
	}
	// While the gateway works for all of them a new client is turned away; none gives way before its answer fills the socket.
	got, err := tryAsk(paths[Operator], "show version\n")
	for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); {
		got, err = tryAsk(paths[Operator], "show version\n")
	}
	if err != nil || got != "1.2\n\n" {
		t.Errorf("%q, %v", got, err)
	}
	lost := 0
	for _, conn := range slow {
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		if all, err := io.ReadAll(conn); err == nil && !strings.HasSuffix(string(all), "\n\n") {
			lost++
		}
	}
	if lost == 0 {
		t.Error("nobody gave way")
	}
}

// TestNumbersOfC: pointers are read as HAProxy reads them, and times written as HAProxy writes them.
func TestNumbersOfC(t *testing.T) {
	for text, want := range map[string]uint64{
		"0x1f": 31, "0X1F": 31, "31": 31, "037": 31, "31x": 31, "0x1fz": 31, "x": 0, "": 0, "0": 0, "0x": 0, "-1": 0, "0xffffffffffffffff": 1<<64 - 1, "0x10000000000000000": 0,
	} {
		if got := pointer(text); got != want {
			t.Errorf("%q is %d, not %d", text, got, want)
		}
	}
	for ms, want := range map[int64]string{
		0: "0s", 999: "0s", 1000: "1s", 60_000: "1m", 61_000: "1m1s", 3_600_000: "1h", 3_605_000: "1h5s", 86_400_000: "1d", 90_061_000: "1d1h", 86_461_000: "1d1m",
	} {
		if got := age(ms); got != want {
			t.Errorf("%d ms is %s, not %s", ms, got, want)
		}
	}
}
