package testpcaps

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"hushgate/internal/capture"
	"hushgate/internal/wire"
)

var generate = flag.Bool("generate", false, "write repeat-senders.pcapng and teaser.pcapng again")

// visit is a connection of repeat-senders.pcapng or teaser.pcapng. The server greets after 200 ms.
type visit struct {
	teaser         bool          // the server sends the first line of its greeting at once
	at             time.Duration // of the SYN
	client, server string
	kind           visitKind
	talk           time.Duration // of a bot, after the handshake
	stay           time.Duration // of a sender, after the banner
}

type visitKind int

const (
	sender visitKind = iota // waits for the banner, delivers, closes
	bot                     // talks before the banner
	caller                  // closes before the banner, as some monitoring does
)

const (
	primary, backup = "192.0.2.25", "192.0.2.26"
	primary6        = "2001:db8::25"
)

// visits are two days at a mail server.
func visits() (list []visit) {
	add := func(at time.Duration, client, server string, kind visitKind, talk, stay time.Duration) {
		list = append(list, visit{false, at, client, server, kind, talk, stay})
	}
	mails := func(client, server string, at ...time.Duration) {
		for _, t := range at {
			add(t, client, server, sender, 0, time.Second)
		}
	}
	const h, m, s, ms = time.Hour, time.Minute, time.Second, time.Millisecond
	mails("192.0.2.101", primary, 0, 20*m, 5*h, 30*h, 47*h)
	mails("192.0.2.102", primary, 1*h, 26*h)
	mails("2001:db8:2::1", primary6, 2*h)
	mails("2001:db8:2::2", primary6, 2*h+10*m) // the same sender: one /64
	mails("192.0.2.103", primary, 3*h, 3*h+1*m)
	add(4*h, "198.51.100.7", primary, bot, 0, 0)
	add(4*h+1*s, "198.51.100.8", primary, bot, 50*ms, 0)
	add(4*h+2*s, "2001:db8:bad::9", primary6, bot, 150*ms, 0)
	mails("192.0.2.104", primary, 6*h)
	add(7*h, "192.0.2.104", primary, bot, 10*ms, 0) // it loses its pass
	mails("192.0.2.104", primary, 8*h)
	for i := range 8 {
		add(9*h+time.Duration(i)*100*ms, "203.0.113.9", primary, sender, 0, time.Minute)
	}
	add(10*h, "192.0.2.105", primary, caller, 100*ms, 0)
	mails("203.0.113.50", primary, 10*h+1*m)
	mails("192.0.2.106", backup, 11*h, 11*h+10*m)
	mails("192.0.2.106", primary, 11*h+5*m)
	for i := range 20 {
		add(12*h+time.Duration(i)*50*ms, netip.AddrFrom4([4]byte{100, 64, 0, byte(i + 1)}).String(), primary, sender, 0, time.Second)
	}
	return list
}

// teased are clients of a server that sends the first line of its greeting at once, and the last one after 200 ms: a sender, a bot that
// talks at once, one that talks when it has seen the first line, and a client that closes then.
func teased() (list []visit) {
	const ms = time.Millisecond
	for i, v := range []visit{
		{client: "192.0.2.101", kind: sender, stay: time.Second},
		{client: "198.51.100.7", kind: bot},
		{client: "198.51.100.8", kind: bot, talk: 60 * ms},
		{client: "2001:db8:bad::9", kind: bot, talk: 100 * ms},
		{client: "192.0.2.105", kind: caller, talk: 100 * ms},
	} {
		v.teaser, v.at, v.server = true, time.Duration(i)*2*time.Second, primary
		if netip.MustParseAddr(v.client).Is6() {
			v.server = primary6
		}
		list = append(list, v)
	}
	return list
}

// packet is one with its time.
type packet struct {
	at   time.Duration
	data []byte
}

// packets are those of the n-th connection.
func (v *visit) packets(n int) (list []packet) {
	client, server := wire.AddrFrom(netip.MustParseAddr(v.client)), wire.AddrFrom(netip.MustParseAddr(v.server))
	build, c, s := wire.NewBuilder(), wire.Seq(1000*n), wire.Seq(500000+1000*n)
	put := func(after time.Duration, fromClient bool, h wire.Header, text string) {
		h.Src, h.SrcPort, h.Dst, h.DstPort, h.Seq = client, uint16(20000+n), server, 25, c
		if !fromClient {
			h.Src, h.SrcPort, h.Dst, h.DstPort, h.Seq = h.Dst, h.DstPort, h.Src, h.SrcPort, s
		}
		if h.Flags.Has(wire.ACK) {
			if h.Ack = s; !fromClient {
				h.Ack = c
			}
		}
		list = append(list, packet{v.at + after, build.Append(nil, &h, []byte(text))[wire.PacketAt:]})
		next := &c
		if !fromClient {
			next = &s
		}
		*next += wire.Seq(len(text))
		if h.Flags&(wire.SYN|wire.FIN) != 0 {
			*next++
		}
	}
	const ms = time.Millisecond
	ack := wire.Header{Flags: wire.ACK, Wnd: 64240}
	syn := wire.Header{Flags: wire.SYN, Wnd: 64240, MSS: 1460, SACKPermitted: true, Scale: true, WindowScale: 7}
	if v.kind == bot {
		syn = wire.Header{Flags: wire.SYN, Wnd: 8192, MSS: 1440}
	}
	fin := wire.Header{Flags: wire.ACK | wire.FIN, Wnd: 64240}
	put(0, true, syn, "")
	syn.Flags |= wire.ACK
	put(1*ms, false, syn, "")
	put(20*ms, true, ack, "")
	if v.teaser && v.talk+v.stay > 0 { // whoever talks at once does so before it arrives
		put(21*ms, false, ack, "220-mx.example.net ESMTP\r\n")
		put(40*ms, true, ack, "")
	}
	banner := 220 * ms
	switch v.kind {
	case bot:
		put(20*ms+v.talk, true, ack, "EHLO bot.example.net\r\n")
		put(banner, false, ack, "220 mx.example.net ESMTP\r\n")
		put(banner+20*ms, true, wire.Header{Flags: wire.ACK | wire.RST}, "")
	case caller:
		put(20*ms+v.talk, true, fin, "")
		put(21*ms+v.talk, false, fin, "")
		put(40*ms+v.talk, true, ack, "")
	case sender:
		put(banner, false, ack, "220 mx.example.net ESMTP\r\n")
		put(banner+20*ms, true, ack, "EHLO mail.example.org\r\n")
		put(banner+21*ms, false, ack, "250 mx.example.net\r\n")
		put(banner+v.stay, true, ack, "QUIT\r\n")
		put(banner+v.stay+1*ms, false, fin, "")
		put(banner+v.stay+20*ms, true, fin, "")
		put(banner+v.stay+21*ms, false, ack, "")
	}
	return list
}

// TestGenerated checks that repeat-senders.pcapng and teaser.pcapng are what this file describes: `go test ./testpcaps -generate`
// writes them.
func TestGenerated(t *testing.T) {
	for name, list := range map[string][]visit{"repeat-senders.pcapng": visits(), "teaser.pcapng": teased()} {
		text, err := written(list)
		if err != nil {
			t.Fatal(err)
		}
		if *generate {
			if err := os.WriteFile(name, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if is, err := os.ReadFile(name); err != nil || !bytes.Equal(is, text) {
			t.Errorf("%s is not what this test describes (%v): go test ./testpcaps -generate writes it", name, err)
		}
	}
}

// written returns a capture of connections.
func written(list []visit) ([]byte, error) {
	var all []packet
	for i, v := range list {
		all = append(all, v.packets(i)...)
	}
	slices.SortStableFunc(all, func(a, b packet) int { return int(a.at - b.at) })
	var b bytes.Buffer
	w, err := capture.NewWriter(&b, "hushgate's tests")
	if err == nil {
		_, err = w.Interface("eth0", capture.LinkRaw)
	}
	begin := time.Date(2026, 1, 5, 6, 0, 0, 0, time.UTC)
	for i := 0; i < len(all) && err == nil; i++ {
		err = w.Packet(0, begin.Add(all[i].at), all[i].data, 0, "")
	}
	return b.Bytes(), err
}
