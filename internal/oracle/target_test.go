package oracle

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"hushgate/dataplane/port"
	"hushgate/internal/lab"
	"hushgate/internal/needroot"
	"hushgate/internal/wire"
)

// The services: one that stays silent for longer than the test, one that replies to early talkers.
const (
	silentPort = 25
	replyPort  = 26
	words      = "554 5.5.1 Protocol error\r\n"
)

// family has the addresses of one address family. No kernel has the clients' addresses, so that none answers for them.
type family struct {
	name                   string
	client, marker, server netip.Addr
}

var families = []family{
	{"ipv4", netip.MustParseAddr("198.18.0.200"), netip.MustParseAddr("198.18.0.201"), netip.MustParseAddr(lab.VIP4)},
	{"ipv6", netip.MustParseAddr("2001:db8:1::200"), netip.MustParseAddr("2001:db8:1::201"), netip.MustParseAddr(lab.VIP6)},
}

// target is one of the two that are compared, reached from the client host through a packet socket.
type target struct {
	name      string
	port      *port.AFPacket
	poll      *port.Poller
	mac, own  net.HardwareAddr
	listener  *listener // the kernel's application; hushgate needs none
	markers   uint16    // client port of the last marker
	farewell  []byte    // ends the last marker's connection; sent with the next frames
	listening [port.Batch][]byte
}

// patience bounds each wait for a target; only a broken target takes so long.
const patience = 5 * time.Second

// exchange sends frames, and then a SYN from another address as a marker. Both targets handle frames in order and always
// answer a SYN. So everything before the marker's SYN-ACK is the answer to the frames, and is passed to handle.
func (t *target) exchange(f *family, frames [][]byte, handle func(answer)) error {
	t.markers = max(t.markers+1, 1024)
	marker := segment{
		src: f.marker, dst: f.server, srcPort: t.markers, dstPort: silentPort, seq: 7, flags: uint8(wire.SYN), wnd: 1000,
	}
	syn, err := marker.frame(t.mac, t.own)
	if err != nil {
		return err
	}
	out := append([][]byte{}, frames...)
	if t.farewell != nil {
		out = append([][]byte{t.farewell}, out...)
	}
	marker.seq, marker.flags = 8, uint8(wire.RST)
	if t.farewell, err = marker.frame(t.mac, t.own); err != nil {
		return err
	}
	if err := t.port.Write(append(out, syn)); err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		n, err := t.port.Read(t.listening[:])
		if err != nil {
			return err
		}
		done := false
		for _, frame := range t.listening[:n] {
			a, ok := decode(frame)
			switch {
			case !ok:
			case a.dst == f.marker:
				done = done || a.tcp != nil && uint16(a.tcp.DstPort) == t.markers
			case a.dst == f.client:
				handle(a)
			}
		}
		if done {
			return nil
		}
		if n == 0 {
			if err := t.poll.Wait(time.Until(deadline)); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("%s does not answer a SYN from port %d", t.name, t.markers)
}

// newTargets builds the network: the lab with hushgate in it, and a second link from the client host to the kernel's host.
// It needs root.
func newTargets(t *testing.T) (linux, hushgate *target) {
	t.Helper()
	needroot.Skip(t, "the comparison with the kernel")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	l, err := lab.New(ctx, lab.Options{})
	must(t, err)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	kernel, err := lab.NewHost("kernel")
	must(t, err)
	t.Cleanup(func() { _ = kernel.Close() })
	must(t, lab.Connect(l.Client, "eth1", kernel, "outside", 1500))
	must(t, kernel.Addr("outside", lab.VIP4+"/24"))
	must(t, kernel.Addr("outside", lab.VIP6+"/64"))
	must(t, kernel.WaitUp("outside"))
	hushgate = newTarget(ctx, t, "hushgate", l.Client, "eth0", l.Gateway)
	linux = newTarget(ctx, t, "Linux", l.Client, "eth1", kernel)
	settle(ctx, t, kernel)
	linux.listener = listen(t, kernel)
	for _, a := range []string{lab.Server4a, lab.Server6a} { // hushgate offers what its servers grant
		server, err := l.Servers[0].Listen(net.JoinHostPort(a, "25"))
		must(t, err)
		t.Cleanup(func() { _ = server.Close() })
	}
	must(t, l.Gateway.Do(func() error { // the gateway's process inherits it
		var here unix.CPUSet
		if err := unix.SchedGetaffinity(unix.Getpid(), &here); err != nil {
			return err
		}
		here = oneOf(&here)
		return unix.SchedSetaffinity(0, &here)
	}))
	gateway, err := l.StartGateway(ctx, build(ctx, t), configuration(), nil)
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			lines := gateway.Lines()
			for _, line := range lines[max(0, len(lines)-10):] {
				t.Log(line)
			}
		}
	})
	return linux, hushgate
}

// configuration has both services, and a server, for each address family. The scripts come from one address, without limit.
func configuration() []byte {
	var fronts, backs string
	for i, f := range families {
		server := []string{lab.Server4a, lab.Server6a}[i]
		fronts += fmt.Sprintf(`
  - {name: silent-%[1]s, bind: "%[2]s", inspect-delay: 1h, limits: {connections: 0}, log-format: none, default_backend: %[1]s}
  - {name: reply-%[1]s, bind: "%[3]s", inspect-delay: 1h, limits: {connections: 0}, reject: reply, log-format: none, default_backend: %[1]s}`,
			f.name, netip.AddrPortFrom(f.server, silentPort), netip.AddrPortFrom(f.server, replyPort))
		backs += fmt.Sprintf(`
  - {name: %s, servers: [{name: smtp1, address: "%s", check: true}]}`, f.name, net.JoinHostPort(server, "25"))
	}
	return []byte("#yaml\nshards: 1\npass-ttl: 0s\nfrontends:" + fronts + "\nbackends:" + backs + "\n")
}

// newTarget opens a packet socket on the client host's link to a target, and enters the clients' link addresses at the target.
func newTarget(ctx context.Context, t *testing.T, name string, client *lab.Host, ifname string, host *lab.Host) *target {
	t.Helper()
	x := &target{name: name, markers: 1024}
	all, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 1 << 18}})
	must(t, err)
	must(t, client.Do(func() (err error) {
		if x.own, err = linkAddress(ifname); err != nil {
			return err
		}
		x.port, err = port.Open(port.Config{Interface: ifname, Filter: all})
		return err
	}))
	t.Cleanup(func() { _ = x.port.Close() })
	x.poll, err = port.NewPoller(x.port)
	must(t, err)
	t.Cleanup(func() { _ = x.poll.Close() })
	must(t, host.Do(func() (err error) {
		x.mac, err = linkAddress("outside")
		return err
	}))
	for _, f := range families {
		for _, a := range []netip.Addr{f.client, f.marker} {
			run(ctx, t, host, "ip", "neigh", "replace", a.String(), "lladdr", x.own.String(), "dev", "outside", "nud", "permanent")
		}
	}
	return x
}

// settle turns off what depends on time or on earlier answers in the kernel: rate limits, delayed ACKs, tail loss probes.
func settle(ctx context.Context, t *testing.T, kernel *lab.Host) {
	t.Helper()
	for _, s := range [][2]string{
		{"net/ipv4/tcp_invalid_ratelimit", "0"},
		{"net/ipv4/tcp_early_retrans", "0"},
		{"net/ipv4/icmp_ratelimit", "0"},
		{"net/ipv6/icmp/ratelimit", "0"},
	} {
		must(t, kernel.Sysctl(s[0], s[1]))
	}
	for _, f := range families {
		run(ctx, t, kernel, "ip", "route", "replace", f.client.String(), "dev", "outside", "quickack", "1")
	}
}

func linkAddress(ifname string) (net.HardwareAddr, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, err
	}
	return ifi.HardwareAddr, nil
}

func run(ctx context.Context, t *testing.T, h *lab.Host, name string, args ...string) {
	t.Helper()
	_, err := h.Run(ctx, name, args...)
	must(t, err)
}

// build builds the binary.
func build(ctx context.Context, t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "hushgate")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "hushgate/cmd/hushgate")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build hushgate: %v\n%s", err, out)
	}
	return binary
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
