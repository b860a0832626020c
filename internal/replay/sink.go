package replay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"time"

	"hushgate/internal/capture"
	"hushgate/internal/wire"
)

// extract writes the packets of one connection to a file.
type extract struct {
	id       int // 0 if client selects the connection
	client   netip.AddrPort
	file     *os.File
	buf      *bufio.Writer
	w        *capture.Writer
	ifaces   map[capture.LinkType]int
	anon     *Anonymiser
	want     bool // anonymise
	packets  int
	selected string
}

func newExtract(q *Request) (*extract, error) {
	x := &extract{want: q.Anonymise, ifaces: map[capture.LinkType]int{}, selected: q.Extract}
	var err error
	if x.id, err = strconv.Atoi(q.Extract); err != nil || x.id < 1 {
		if x.client, err = netip.ParseAddrPort(q.Extract); err != nil {
			return nil, fmt.Errorf("--extract %s: expected the number of a connection or its client as address:port", q.Extract)
		}
		x.id = 0
	}
	x.file, x.buf, x.w, err = create(q.Write, q.Application)
	return x, err
}

// create creates a pcapng file.
func create(name, application string) (*os.File, *bufio.Writer, *capture.Writer, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("write a capture: %w", err)
	}
	buf := bufio.NewWriter(f)
	w, err := capture.NewWriter(buf, application)
	if err != nil {
		return nil, nil, nil, errors.Join(err, f.Close())
	}
	return f, buf, w, nil
}

// segment writes a packet as it was captured; fragments are written as the reassembled packet.
func (x *extract) segment(p *capture.Packet, f *capture.Frame, seg *wire.Segment, v view) error {
	id := v.conn.id
	client := netip.AddrPortFrom(seg.Src.Netip(), seg.SrcPort)
	if !v.fromClient {
		client = netip.AddrPortFrom(seg.Dst.Netip(), seg.DstPort)
	}
	if x.id != 0 && x.id != id || x.id == 0 && x.client != client {
		return nil
	}
	data, length, link := p.Data, p.Length, p.Link
	if x.want {
		if x.anon == nil {
			var err error
			if x.anon, err = NewAnonymiser(seg.Src, seg.Dst); err != nil {
				return err
			}
		}
		x.anon.Segment(seg, f.Truncated)
	}
	if x.want || f.Fragments {
		data, link = seg.Frame()[wire.PacketAt:], capture.LinkRaw
		length = len(data)
	}
	iface, known := x.ifaces[link]
	if !known {
		var err error
		if iface, err = x.w.Interface(link.String(), link); err != nil {
			return err
		}
		x.ifaces[link] = iface
	}
	x.packets++
	return x.w.Packet(iface, p.Time, data, length, "")
}

func (*extract) clock(time.Time) {}
func (*extract) ended(*Result)   {}

func (x *extract) finish() ([]remark, error) {
	err := errors.Join(x.buf.Flush(), x.file.Close())
	if err == nil && x.packets == 0 {
		err = fmt.Errorf("--extract %s: no such connection in the capture", x.selected)
	}
	return nil, err
}

// drive writes hushgate's answers as text and, if requested, as pcapng.
type drive struct {
	driver *Driver
	text   *Transcript
	file   *os.File
	buf    *bufio.Writer
	w      *capture.Writer
	err    error
}

func newDrive(q *Request, out io.Writer) (*drive, error) {
	d := &drive{text: NewTranscript(out)}
	if q.Write != "" {
		var err error
		if d.file, d.buf, d.w, err = create(q.Write, q.Application); err != nil {
			return nil, err
		}
		for _, side := range []string{"outside", "inside"} {
			if _, err := d.w.Interface(side, capture.LinkRaw); err != nil {
				return nil, errors.Join(err, d.file.Close())
			}
		}
	}
	d.driver = NewDriver(DriveOptions{Delay: q.Delays[0], Reply: q.Reply}, d.take)
	return d, nil
}

func (d *drive) take(p Driven) {
	iface := 0
	if p.Side == wire.Inside {
		iface = 1
	}
	d.text.Add(&p)
	if d.w != nil {
		from := "received: "
		if p.Ours {
			from = "sent: "
		}
		d.err = errors.Join(d.err, d.w.Packet(iface, p.At, p.Packet, 0, from+p.Comment))
	}
}

func (d *drive) segment(p *capture.Packet, f *capture.Frame, seg *wire.Segment, v view) error {
	if p.Time.IsZero() {
		return errors.New("drive: a packet without a time (pcapng's simple packet blocks): no delay can run out")
	}
	return errors.Join(d.driver.Segment(p.Time, seg, v.fromClient, f.Fragments), d.err)
}

func (*drive) clock(time.Time) {}
func (*drive) ended(*Result)   {}

func (d *drive) finish() ([]remark, error) {
	d.driver.Finish()
	err := errors.Join(d.err, d.text.Err())
	if d.file != nil {
		err = errors.Join(err, d.buf.Flush(), d.file.Close())
	}
	return d.driver.refusals(), err
}
