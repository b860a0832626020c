package doctor

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"hushgate/internal/netenv"
)

// ear hears, on all interfaces of the gateway, segments to the foreign addresses.
type ear struct {
	own   map[[6]byte]bool // link addresses of this machine
	conns map[int]*packet.Conn
	links map[int]string

	mu      sync.Mutex
	waiting map[question]chan *answer
	done    sync.WaitGroup
}

// question identifies the SYN that an answer is for.
type question struct {
	server, client netip.AddrPort
	iss            uint32
}

// answer is a SYN-ACK or RST of a server.
type answer struct {
	link    string
	to      [6]byte // the link address that it was sent to
	ours    bool    // which is one of this machine
	refused bool    // an RST
	after   time.Duration
	grants  grants
}

// grants are the TCP options of a SYN-ACK.
type grants struct {
	mss        int // 0: none
	scale      int // -1: none
	sack       bool
	timestamps bool
}

// String lists the options.
func (g grants) String() string {
	words := []string{"no MSS"}
	if g.mss > 0 {
		words[0] = fmt.Sprintf("MSS %d", g.mss)
	}
	word := func(there bool, yes, no string) {
		if !there {
			yes = no
		}
		words = append(words, yes)
	}
	word(g.scale >= 0, fmt.Sprintf("window scale %d", g.scale), "no window scale")
	word(g.sack, "SACK", "no SACK")
	word(g.timestamps, "timestamps", "no timestamps")
	return strings.Join(words, ", ")
}

// toForeign accepts Ethernet frames with an IP packet to one of the addresses.
func toForeign(addrs []netip.Addr) ([]bpf.RawInstruction, error) {
	var p []bpf.Instruction
	const accept = 1 << 18
	for _, a := range addrs {
		ether, at := uint32(unix.ETH_P_IP), uint32(14+16)
		if a.Is6() {
			ether, at = unix.ETH_P_IPV6, 14+24
		}
		words := a.AsSlice()
		n := len(words) / 4
		p = append(p, bpf.LoadAbsolute{Off: 12, Size: 2}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: ether, SkipTrue: uint8(2*n + 1)})
		for i := range n {
			p = append(p, bpf.LoadAbsolute{Off: at + uint32(4*i), Size: 4},
				bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(words[4*i:]), SkipTrue: uint8(2*(n-1-i) + 1)})
		}
		p = append(p, bpf.RetConstant{Val: accept})
	}
	return bpf.Assemble(append(p, bpf.RetConstant{Val: 0}))
}

// listen opens a packet socket on each interface. It hears all protocols, so also what the packet filter drops later.
func listen(links []*netenv.Link, from []netip.Addr) (*ear, error) {
	filter, err := toForeign(from)
	if err != nil {
		return nil, fmt.Errorf("make the filter for %v: %w", from, err)
	}
	e := &ear{own: map[[6]byte]bool{}, conns: map[int]*packet.Conn{}, links: map[int]string{}, waiting: map[question]chan *answer{}}
	for _, l := range links {
		if !l.Up {
			continue
		}
		c, err := packet.Listen(&net.Interface{Index: l.Index, Name: l.Name, HardwareAddr: l.MAC[:], MTU: l.MTU}, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: filter})
		if err != nil {
			e.close()
			return nil, fmt.Errorf("open a packet socket on %s: %w", l.Name, err)
		}
		e.own[l.MAC], e.conns[l.Index], e.links[l.Index] = true, c, l.Name
	}
	for index, c := range e.conns {
		e.done.Go(func() { e.hear(c, e.links[index]) })
	}
	return e, nil
}

func (e *ear) close() {
	for _, c := range e.conns {
		_ = c.Close()
	}
	e.done.Wait()
}

// hear reads the frames of one interface until it is closed.
func (e *ear) hear(c *packet.Conn, link string) {
	b := make([]byte, 1<<16)
	for {
		n, _, err := c.ReadFrom(b)
		switch {
		case errors.Is(err, net.ErrClosed), errors.Is(err, unix.EBADF):
			return
		case err != nil: // such as ENETDOWN: the interface has gone down meanwhile
			time.Sleep(hopPause)
			if c.SetReadDeadline(time.Time{}) != nil {
				return
			}
		default:
			e.take(b[:n], link)
		}
	}
}

// take finds the question that a frame answers. A frame that this machine has sent, or passed on, is none.
func (e *ear) take(b []byte, link string) {
	q, a, from, ok := readAnswer(b)
	if !ok || e.own[from] {
		return
	}
	a.link, a.ours = link, e.own[a.to]
	e.mu.Lock()
	defer e.mu.Unlock()
	if ch := e.waiting[q]; ch != nil {
		select {
		case ch <- a:
		default: // a retransmission
		}
	}
}

// readAnswer reads an Ethernet frame with a SYN-ACK or an RST, and returns the question that it answers and its sender.
func readAnswer(b []byte) (q question, a *answer, from [6]byte, ok bool) {
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	eth, _ := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	tcp, _ := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if eth == nil || tcp == nil || !tcp.ACK || tcp.SYN == tcp.RST || p.NetworkLayer() == nil {
		return q, nil, from, false
	}
	src, dst := p.NetworkLayer().NetworkFlow().Endpoints()
	server, _ := netip.AddrFromSlice(src.Raw())
	client, _ := netip.AddrFromSlice(dst.Raw())
	q = question{netip.AddrPortFrom(server, uint16(tcp.SrcPort)), netip.AddrPortFrom(client, uint16(tcp.DstPort)), tcp.Ack - 1}
	a = &answer{refused: tcp.RST, grants: grantsOf(tcp)}
	copy(from[:], eth.SrcMAC)
	copy(a.to[:], eth.DstMAC)
	return q, a, from, true
}

func grantsOf(tcp *layers.TCP) grants {
	g := grants{scale: -1}
	for _, o := range tcp.Options {
		switch {
		case o.OptionType == layers.TCPOptionKindMSS && len(o.OptionData) == 2:
			g.mss = int(binary.BigEndian.Uint16(o.OptionData))
		case o.OptionType == layers.TCPOptionKindWindowScale && len(o.OptionData) == 1:
			g.scale = int(o.OptionData[0])
		case o.OptionType == layers.TCPOptionKindSACKPermitted:
			g.sack = true
		case o.OptionType == layers.TCPOptionKindTimestamps:
			g.timestamps = true
		}
	}
	return g
}

// ask sends a SYN and waits for its answer, which is nil if there was none. The connection is reset at once.
func (e *ear) ask(ctx context.Context, hop netenv.Hop, from netip.Addr, server netip.AddrPort) (*answer, error) {
	conn := e.conns[hop.Ifindex]
	if conn == nil {
		return nil, fmt.Errorf("the route to it leaves by an interface that is neither inside nor outside")
	}
	var random [6]byte
	_, _ = rand.Read(random[:]) // never fails
	q := question{server, netip.AddrPortFrom(from, 32768|binary.BigEndian.Uint16(random[:])), binary.BigEndian.Uint32(random[2:])}
	ch := make(chan *answer, 1)
	e.mu.Lock()
	e.waiting[q] = ch
	e.mu.Unlock()
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	again := time.NewTicker(probeAgain)
	defer again.Stop()
	for {
		if err := send(conn, hop, q, true); err != nil {
			return nil, err
		}
		select {
		case a := <-ch:
			a.after = time.Since(start)
			return a, send(conn, hop, q, false)
		case <-again.C:
		case <-ctx.Done():
			return nil, send(conn, hop, q, false)
		}
	}
}

// send sends a question's SYN, or the RST that ends it.
func send(conn *packet.Conn, hop netenv.Hop, q question, syn bool) error {
	frame, err := segment(hop, q, syn)
	if err != nil {
		return fmt.Errorf("make a segment: %w", err)
	}
	if _, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: hop.Dst[:]}); err != nil {
		return fmt.Errorf("send a segment to %v: %w", q.server, err)
	}
	return nil
}

// segment makes the frame of a question's SYN with the options of a modern client, or of the RST that ends it.
func segment(hop netenv.Hop, q question, syn bool) ([]byte, error) {
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(q.client.Port()), DstPort: layers.TCPPort(q.server.Port()), Seq: q.iss, SYN: syn, RST: !syn, Window: 64240,
		Options: []layers.TCPOption{
			{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{1460 >> 8, 1460 & 0xff}},
			{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2},
			{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte{0, 0, 0, 1, 0, 0, 0, 0}},
			{OptionType: layers.TCPOptionKindNop, OptionLength: 1},
			{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}},
		},
	}
	if !syn {
		tcp.Seq, tcp.Options, tcp.Window = q.iss+1, nil, 0
	}
	eth := &layers.Ethernet{SrcMAC: hop.Src[:], DstMAC: hop.Dst[:], EthernetType: layers.EthernetTypeIPv4}
	var ip gopacket.SerializableLayer
	if from, to := q.client.Addr(), q.server.Addr(); from.Is4() {
		v4 := &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolTCP, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		_ = tcp.SetNetworkLayerForChecksum(v4) // cannot fail for IP
		ip = v4
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		v6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		_ = tcp.SetNetworkLayerForChecksum(v6)
		ip = v6
	}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, tcp)
	return buf.Bytes(), err
}
