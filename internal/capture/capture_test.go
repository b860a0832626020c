package capture

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"hushgate/internal/wire"
)

var tAt = time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.UTC)

// tPacket returns the IP packet of a segment with a text.
func tPacket(v6 bool, text string) []byte {
	src, dst := "198.18.0.7", "198.18.0.1"
	if v6 {
		src, dst = "2001:db8::7", "2001:db8::1"
	}
	return wire.NewBuilder().Append(nil, &wire.Header{
		Src: wire.AddrFrom(netip.MustParseAddr(src)), Dst: wire.AddrFrom(netip.MustParseAddr(dst)), SrcPort: 4000, DstPort: 25,
		Flags: wire.ACK | wire.PSH, Seq: 5, Ack: 6, Wnd: 7,
	}, []byte(text))[wire.PacketAt:]
}

// links has headers of every link type for an IP packet.
var links = map[string]struct {
	link   LinkType
	v4, v6 string // in hex
}{
	"Ethernet":     {LinkEthernet, "0102030405060708090a0b0c0800", "0102030405060708090a0b0c86dd"},
	"VLAN":         {LinkEthernet, "0102030405060708090a0b0c810000050800", "0102030405060708090a0b0c8100000586dd"},
	"QinQ":         {LinkEthernet, "0102030405060708090a0b0c88a80005810000060800", "0102030405060708090a0b0c88a8000581000006" + "86dd"},
	"raw":          {LinkRaw, "", ""},
	"raw of BSD":   {LinkRawBSD, "", ""},
	"IPv4 or IPv6": {LinkRawOther, "", ""},
	"SLL":          {LinkSLL, "0000000100060102030405060000" + "0800", "0000000100060102030405060000" + "86dd"},
	"SLL, VLAN":    {LinkSLL, "0000000100060102030405060000" + "810000050800", "0000000100060102030405060000" + "8100000586dd"},
	"SLL2":         {LinkSLL2, "080000000000000200010006010203040506" + "0000", "86dd00000000000200010006010203040506" + "0000"},
	"QinQinQ":      {LinkEthernet, "0102030405060708090a0b0c" + "88a80005" + "88a80006" + "81000007" + "0800", "0102030405060708090a0b0c" + "91000005" + "81000006" + "81000007" + "86dd"},
	"MPLS":         {LinkEthernet, "0102030405060708090a0b0c" + "8847" + "00064040" + "00065140", "0102030405060708090a0b0c" + "8848" + "00065140"},
	"SNAP":         {LinkEthernet, "0102030405060708090a0b0c" + "0038" + "aaaa03000000" + "0800", "0102030405060708090a0b0c" + "0038" + "aaaa03000000" + "86dd"},
	"PPPoE":        {LinkEthernet, "0102030405060708090a0b0c" + "8864" + "110000010032" + "0021", "0102030405060708090a0b0c" + "8864" + "110000010046" + "0057"},
	"PPPoE, VLAN":  {LinkEthernet, "0102030405060708090a0b0c" + "81000007" + "8864" + "110000010032" + "0021", "0102030405060708090a0b0c" + "81000007" + "8864" + "110000010046" + "0057"},
	"PPPoE in SLL": {LinkSLL, "0000000100060102030405060000" + "8864" + "110000010032" + "21", "0000000100060102030405060000" + "8864" + "110000010046" + "57"},
	"PPPoE alone":  {LinkPPPoE, "110000010032" + "0021", "110000010046" + "0057"},
	"PPP":          {LinkPPP, "0021", "0057"},
	"PPP, short":   {LinkPPP, "21", "57"},
	"PPP, HDLC":    {LinkPPP, "ff030021", "ff030057"},
	"PPP serial":   {LinkPPPSerial, "ff030021", "ff0357"},
	"PPP, Cisco":   {LinkPPPSerial, "0f000800", "8f0086dd"},
	"PPP, MPLS":    {LinkPPP, "ff030281" + "00064140", "ff030281" + "00064140"},
	"PPP of pppd":  {LinkPPPD, "01030021", "00030057"},
	"PPP, way":     {LinkPPPDir, "00ff030021", "010057"},
	"Cisco HDLC":   {LinkHDLC, "0f000800", "0f0086dd"},
	"null":         {LinkNull, "02000000", "1e000000"},
	"null, BE":     {LinkNull, "00000002", "0000000a"},
	"loop":         {LinkLoop, "00000002", "00000018"},
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	var b []byte
	if _, err := fmt.Sscanf(s, "%x", &b); err != nil && s != "" {
		t.Fatal(err)
	}
	return b
}

// pcapFile returns a pcap file of packets, of which kept octets each are captured; all if kept is 0.
func pcapFile(order binary.ByteOrder, magic uint32, link LinkType, kept int, packets ...[]byte) []byte {
	head := make([]byte, pcapHeader)
	order.PutUint32(head, magic)
	order.PutUint16(head[4:], 2)
	order.PutUint16(head[6:], 4)
	order.PutUint32(head[16:], 65535)
	order.PutUint32(head[20:], uint32(link))
	unit := int64(1000)
	if magic == magicNano {
		unit = 1
	}
	for _, p := range packets {
		rec := make([]byte, pcapRecord)
		data := p
		if kept > 0 {
			data = p[:min(kept, len(p))]
		}
		order.PutUint32(rec, uint32(tAt.Unix()))
		order.PutUint32(rec[4:], uint32(int64(tAt.Nanosecond())/unit))
		order.PutUint32(rec[8:], uint32(len(data)))
		order.PutUint32(rec[12:], uint32(len(p)))
		head = append(append(head, rec...), data...)
	}
	return head
}

// read returns the texts of the segments of a capture, and the error that ended it.
func read(file []byte) (texts []string, last error) {
	r, err := NewReader("x", bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f, d := NewFramer(), wire.NewDecoder()
	var p Packet
	for {
		if err := r.Next(&p); err != nil {
			return texts, err
		}
		if frame, ok := f.Frame(&p); ok && d.Decode(frame.Data) == wire.KindTCP && d.Segment.ChecksumOK() {
			texts = append(texts, string(d.Segment.Payload))
		}
	}
}

func TestPcap(t *testing.T) {
	for name, l := range links {
		for _, v6 := range []bool{false, true} {
			header := l.v4
			if v6 {
				header = l.v6
			}
			packet := append(unhex(t, header), tPacket(v6, "EHLO x\r\n")...)
			padded := append(append([]byte{}, packet...), 0, 0, 0, 0, 0)
			for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
				for _, magic := range []uint32{magicMicro, magicNano} {
					file := pcapFile(order, magic, l.link, 0, packet, padded)
					texts, err := read(file)
					if !errors.Is(err, io.EOF) || len(texts) != 2 || texts[0] != "EHLO x\r\n" || texts[1] != texts[0] {
						t.Errorf("%s, v6 %v, %v, %x: %q, %v", name, v6, order, magic, texts, err)
					}
					r, err := NewReader("x", bytes.NewReader(file))
					if err != nil {
						t.Fatal(err)
					}
					var p Packet
					want := tAt
					if magic == magicMicro {
						want = want.Truncate(time.Microsecond)
					}
					if err := r.Next(&p); err != nil || !p.Time.Equal(want) || p.Link != l.link || p.Offset != pcapHeader {
						t.Errorf("%s: %+v, %v", name, p, err)
					}
				}
			}
		}
	}
}

// TestTruncated checks that what the capture truncated is replaced by zeros, and that the frame is marked.
func TestTruncated(t *testing.T) {
	packet := tPacket(false, "EHLO x\r\n")
	for kept := 1; kept < len(packet); kept++ {
		r, err := NewReader("x", bytes.NewReader(pcapFile(binary.LittleEndian, magicMicro, LinkRaw, kept, packet)))
		if err != nil {
			t.Fatal(err)
		}
		var p Packet
		if err := r.Next(&p); err != nil {
			t.Fatal(err)
		}
		f, ok := NewFramer().Frame(&p)
		if want := kept >= smallestIPv4Len; ok != want {
			t.Fatalf("%d octets kept: %v", kept, ok)
		}
		if !ok {
			continue
		}
		d := wire.NewDecoder()
		k := d.Decode(f.Data)
		if kept >= 40 && (k != wire.KindTCP || len(d.Segment.Payload) != 8 || d.Segment.Seq != 5 || !f.Truncated) {
			t.Errorf("%d octets kept: kind %d, %d octets of payload", kept, k, len(d.Segment.Payload))
		}
	}
}

// TestLeftToHardware checks a length of 0, left to the hardware that segments the packet: it is replaced by the captured
// length. A wrong checksum of an IPv4 header, as in a capture that was made anonymous, can be ignored like all others.
func TestLeftToHardware(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		good := tPacket(v6, "EHLO x\r\n")
		length := 2
		if v6 {
			length = 4
		}
		unsaid, wrong, changed := slices.Clone(good), slices.Clone(good), slices.Clone(good)
		unsaid[length], unsaid[length+1] = 0, 0
		wrong[10] ^= 1 // of an IPv6 packet this is its address
		changed[len(changed)-1] = '!'
		for _, c := range []struct {
			name         string
			packet       []byte
			ignore, good bool
		}{
			{"as it was sent", good, false, true},
			{"without a length", unsaid, false, true},
			{"without a length, checksums ignored", unsaid, true, true},
			{"with a wrong header", wrong, false, false},
			{"with a wrong header, checksums ignored", wrong, true, true},
			{"with other payload", changed, false, false},
			{"with other payload, checksums ignored", changed, true, true},
		} {
			f, d := NewFramer(), wire.NewDecoder()
			f.IgnoreChecksums = c.ignore
			before := slices.Clone(c.packet)
			frame, ok := f.Frame(&Packet{Link: LinkRaw, Data: c.packet, Length: len(c.packet)})
			if !ok || !bytes.Equal(before, c.packet) {
				t.Fatalf("v6 %v, %s: %v, and the packet is %x", v6, c.name, ok, c.packet)
			}
			if got := d.Decode(frame.Data) == wire.KindTCP && d.Segment.ChecksumOK() && len(d.Segment.Payload) == 8; got != c.good {
				t.Errorf("v6 %v, %s: %v", v6, c.name, got)
			}
		}
	}
}

func ngFile(t *testing.T, comment string, links ...LinkType) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, "test")
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range links {
		if _, err := w.Interface(fmt.Sprint("eth", i), l); err != nil {
			t.Fatal(err)
		}
	}
	for i, l := range links {
		header := ""
		if l == LinkEthernet {
			header = links0
		}
		if err := w.Packet(i, tAt, append(unhex(t, header), tPacket(false, fmt.Sprint("text ", i))...), 0, comment); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

const links0 = "0102030405060708090a0b0c0800"

func TestPcapng(t *testing.T) {
	file := ngFile(t, "why", LinkEthernet, LinkRaw)
	texts, err := read(append(file, file...)) // two sections
	if !errors.Is(err, io.EOF) || strings.Join(texts, ",") != "text 0,text 1,text 0,text 1" {
		t.Errorf("%q, %v", texts, err)
	}
	r, err := NewReader("x", bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var p Packet
	if err := r.Next(&p); err != nil || !p.Time.Equal(tAt) {
		t.Errorf("%+v, %v", p, err)
	}
	if err := r.Next(&p); err != nil || p.Interface != 1 || p.Link != LinkRaw {
		t.Errorf("%+v, %v", p, err)
	}
}

// block returns a pcapng block in big-endian order.
func block(kind uint32, body ...byte) []byte {
	body = append(body, make([]byte, -len(body)&3)...)
	b := binary.BigEndian.AppendUint32(nil, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)+12))
	b = append(b, body...)
	return binary.BigEndian.AppendUint32(b, uint32(len(body)+12))
}

func bigEndianSection() []byte {
	return block(blockSection, 0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255)
}

// TestPcapngBlocks checks big-endian files, obsolete and simple packet blocks, unknown blocks, and clocks of other resolutions.
func TestPcapngBlocks(t *testing.T) {
	packet := tPacket(false, "EHLO x\r\n")
	size := binary.BigEndian.AppendUint32(nil, uint32(len(packet)))
	sizes := append(append([]byte{}, size...), size...)
	iface := func(resolution byte) []byte {
		return block(blockInterface, 0, 101, 0, 0, 0, 0, 0, 0, 0, optionResolution, 0, 1, resolution, 0, 0, 0, 0, 0, 0, 0)
	}
	ticks := func(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }
	for _, c := range []struct {
		resolution byte
		ticks      uint64
		want       time.Time
	}{
		{6, uint64(tAt.UnixMicro()), tAt.Truncate(time.Microsecond)},
		{9, uint64(tAt.UnixNano()), tAt},
		{0, uint64(tAt.Unix()), tAt.Truncate(time.Second)},
		{0x80 | 20, uint64(tAt.Unix())<<20 | 1<<19, tAt.Truncate(time.Second).Add(time.Second / 2)},
		{0x80 | 32, uint64(tAt.Unix())<<32 | 1<<30, tAt.Truncate(time.Second).Add(time.Second / 4)},
	} {
		var file []byte
		file = append(file, bigEndianSection()...)
		file = append(file, block(0x0bad, 1, 2, 3, 4, 5)...)
		file = append(file, iface(c.resolution)...)
		body := append(append(append([]byte{0, 0, 0, 0}, ticks(c.ticks)...), sizes...), packet...)
		file = append(file, block(blockEnhanced, body...)...)
		file = append(file, block(blockPacket, body...)...)
		file = append(file, block(blockSimple, append(append([]byte{}, size...), packet...)...)...)
		r, err := NewReader("x", bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		var p Packet
		for i := range 3 {
			if err := r.Next(&p); err != nil || !bytes.Equal(p.Data, packet) || i < 2 && !p.Time.Equal(c.want) {
				t.Errorf("resolution %#x, packet %d: %v at %v, want %v; %v", c.resolution, i, len(p.Data), p.Time, c.want, err)
			}
		}
		if err := r.Next(&p); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	}
}

func TestCompressed(t *testing.T) {
	plain := pcapFile(binary.LittleEndian, magicMicro, LinkRaw, 0, tPacket(false, "EHLO x\r\n"))
	var z, s bytes.Buffer
	gz := gzip.NewWriter(&z)
	zs, err := zstd.NewWriter(&s)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{gz, zs} {
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range [][]byte{z.Bytes(), s.Bytes()} {
		if texts, err := read(file); !errors.Is(err, io.EOF) || len(texts) != 1 {
			t.Errorf("%q, %v", texts, err)
		}
		for n := 4; n < len(file)-9; n++ { // after these octets only a checksum may be missing
			if _, err := read(file[:n]); err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("cut at %d of %d: %v", n, len(file), err)
			}
		}
	}
}

// TestCutOff checks that a file that ends within a packet gives an error, after all complete packets.
func TestCutOff(t *testing.T) {
	packet := tPacket(false, "EHLO x\r\n")
	plain := pcapFile(binary.LittleEndian, magicMicro, LinkRaw, 0, packet, packet)
	for n := pcapHeader; n < len(plain); n++ {
		texts, err := read(plain[:n])
		whole := (n - pcapHeader) / (pcapRecord + len(packet))
		between := (n-pcapHeader)%(pcapRecord+len(packet)) == 0
		var corrupt *Error
		if len(texts) != whole || errors.Is(err, io.EOF) != between || !between && !errors.As(err, &corrupt) {
			t.Errorf("cut at %d: %d packets, %v", n, len(texts), err)
		}
	}
	ng := ngFile(t, "", LinkRaw)
	ends := map[int]bool{}
	for at := 0; at < len(ng); at += int(binary.LittleEndian.Uint32(ng[at+4:])) {
		ends[at] = true
	}
	for n := 4; n < len(ng); n++ {
		if _, err := read(ng[:n]); errors.Is(err, io.EOF) != ends[n] {
			t.Errorf("pcapng cut at %d: %v", n, err)
		}
	}
}

// TestCorrupt checks that errors name the fault and its place.
func TestCorrupt(t *testing.T) {
	section := bigEndianSection()
	iface := block(blockInterface, 0, 101, 0, 0, 0, 0, 0, 0)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	big := binary.BigEndian.AppendUint32(nil, 1<<30)
	for want, file := range map[string][]byte{
		"not a capture, expected pcap":                 []byte("220 this is text\r\n"),
		"0 octets are not a capture":                   {},
		"2 octets are not a capture":                   {0xa1, 0xb2},
		"the file ends in its header":                  {0xa1, 0xb2, 0xc3, 0xd4, 0, 2},
		"link type 105 is 802.11":                      pcapFile(binary.BigEndian, magicMicro, 105, 0),
		"link type 147 is not supported":               pcapFile(binary.BigEndian, magicMicro, 147, 0),
		"link type 189 (USB) is not supported":         pcapFile(binary.BigEndian, magicMicro, 189, 0),
		"packet block: link type 127 is 802.11":        join(section, block(blockInterface, 0, 127, 0, 0, 0, 0, 0, 0), block(blockEnhanced, make([]byte, 20)...)),
		"byte-order magic":                             block(blockSection, 1, 2, 3, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"version 2 of pcapng":                          block(blockSection, 0x1a, 0x2b, 0x3c, 0x4d, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"length 8, expected":                           join(section, []byte{0, 0, 0, 6, 0, 0, 0, 8}),
		"length 13, expected":                          join(section, []byte{0, 0, 0, 6, 0, 0, 0, 13}),
		"a block of 1073741824 octets":                 join(section, []byte{0, 0, 0, 6}, big),
		"at its beginning and 33 at its end":           join(section, iface, []byte{0, 0, 0, 6, 0, 0, 0, 32}, make([]byte, 23), []byte{33}),
		"interface 0, but the section has 0":           join(section, block(blockEnhanced, make([]byte, 20)...)),
		"octets kept in a block of":                    join(section, iface, block(blockEnhanced, join(make([]byte, 12), big, big)...)),
		"packet block: 4 octets, expected at least 20": join(section, iface, block(blockEnhanced, 0, 0, 0, 0)),
		"option 9 has 255 octets, but the block":       join(section, block(blockInterface, 0, 101, 0, 0, 0, 0, 0, 0, 0, 9, 0, 255)),
		"timestamp resolution 0xff is finer":           join(section, block(blockInterface, 0, 101, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0xff)),
		"capture length exceeds snap length":           join(pcapFile(binary.BigEndian, magicMicro, 1, 0), make([]byte, 8), big, big),
		"the file ends in the middle of a packet":      join(section, iface, []byte{0, 0, 0, 6, 0, 0, 0, 32, 1, 2}),
	} {
		_, err := read(file)
		var corrupt *Error
		if !errors.As(err, &corrupt) || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "x: at octet ") {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Error(err)
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	file := filepath.Join(dir, "x.pcap")
	if err := os.WriteFile(file, pcapFile(binary.BigEndian, magicMicro, LinkRaw, 0, tPacket(true, "x")), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var p Packet
	if err := r.Next(&p); err != nil {
		t.Error(err)
	}
}

// TestLeft checks that packets other than IP are counted under a name.
func TestLeft(t *testing.T) {
	for _, c := range []struct {
		link   LinkType
		packet string // in hex; an IP packet follows
		want   string
	}{
		{LinkEthernet, "0102030405060708090a0b0c" + "0806", "ARP"},
		{LinkEthernet, "0102030405060708090a0b0c" + "88e5", "MACsec (encrypted, or not decoded)"},
		{LinkEthernet, "0102030405060708090a0b0c" + "1234", "Ethernet type 0x1234"},
		{LinkEthernet, "0102030405060708090a0b0c" + "0026424203", "802.2 LLC (spanning tree and others)"},
		{LinkEthernet, "0102030405060708090a0b0c" + "8863" + "110900000000", "PPPoE discovery"},
		{LinkEthernet, "0102030405060708090a0b0c" + "8864" + "11a700010000", "PPPoE discovery"},
		{LinkEthernet, "0102030405060708090a0b0c" + "8847" + "00064040" + "00065140" + "0000", "neither IPv4 nor IPv6"},
		{LinkSLL2, "08060000000000020001000601020304050600" + "00", "ARP"},
		{LinkPPP, "ff03c021", "PPP LCP"},
		{LinkPPP, "002d", "TCP with compressed headers (RFC 1144): not supported"},
		{LinkPPP, "0053", "encrypted PPP"},
		{LinkPPP, "8281", "PPP protocol 0x8281"},
		{LinkHDLC, "0f008035", "RARP"},
		{LinkRaw, "00", "neither IPv4 nor IPv6"},
		{127, "", "802.11 (link type 127): not supported"},
		{147, "", "link type 147: not supported"},
	} {
		f := NewFramer()
		b := append(unhex(t, c.packet), tPacket(false, "x")...)
		if _, ok := f.Frame(&Packet{Time: tAt, Data: b, Length: len(b), Link: c.link}); ok || len(f.Left) != 1 {
			t.Errorf("%s: %v, %v", c.want, ok, f.Left)
		}
		for cargo := range f.Left {
			if cargo.String() != c.want {
				t.Errorf("%v, want %s", cargo, c.want)
			}
		}
	}
	f := NewFramer()
	for kind := range 1000 {
		b := append(unhex(t, fmt.Sprintf("0102030405060708090a0b0c%04x", 0x9100+kind)), tPacket(false, "x")...)
		f.Frame(&Packet{Data: b, Length: len(b), Link: LinkEthernet})
		f.Frame(&Packet{Data: b[:9], Length: len(b), Link: LinkEthernet})
	}
	n := 0
	for _, c := range f.Left {
		n += c
	}
	if n != 2000 || len(f.Left) > maxCargoes+1 || f.Left[cargoCutOff] != 1000 || f.Left[cargoOther] == 0 {
		t.Errorf("%d packets of %d kinds", n, len(f.Left))
	}
}

// TestOtherLinks checks that an interface with an unsupported link type does not keep the others in the file from being read.
func TestOtherLinks(t *testing.T) {
	file := ngFile(t, "", 127, LinkRaw)
	if texts, err := read(file); !errors.Is(err, io.EOF) || strings.Join(texts, ",") != "text 1" {
		t.Errorf("%q, %v", texts, err)
	}
}

// FuzzReader checks that no file causes a panic, a hang, or more use of memory than the bounds allow.
func FuzzReader(f *testing.F) {
	packet := tPacket(false, "EHLO x\r\n")
	f.Add(pcapFile(binary.LittleEndian, magicMicro, LinkRaw, 0, packet))
	f.Add(pcapFile(binary.BigEndian, magicNano, LinkEthernet, 30, append(make([]byte, 14), packet...)))
	iface := block(blockInterface, 0, 101, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 6, 0, 0, 0)
	f.Add(bytes.Join([][]byte{bigEndianSection(), iface, block(blockEnhanced, make([]byte, 40)...)}, nil))
	f.Fuzz(func(t *testing.T, file []byte) {
		texts, err := read(file)
		if err == nil {
			t.Error("no error at the end")
		}
		if len(texts) > len(file)/20 {
			t.Errorf("%d segments in %d octets", len(texts), len(file))
		}
	})
}
