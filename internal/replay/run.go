package replay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"hushgate/internal/capture"
	"hushgate/internal/wire"
)

// Request is what `hushgate replay` is asked for.
type Request struct {
	Files  []string // "-" is standard input
	Format Format
	Delays []time.Duration // the first is the table's
	Plot   string          // file for the curve, "" for none

	Options
	From, To time.Time      // of packets; the zero time is no bound
	Networks []netip.Prefix // of which one end of a connection must be; none is no bound

	Drive     bool
	Reply     bool
	Write     string // pcapng of what Drive answers, or of what Extract chose
	Extract   string // a connection, by its ID or as client:port
	Anonymise bool

	Application string                  // what files that are written say made them
	Progress    func(read, total int64) // told now and then, may be nil
}

// ErrPartial says that a capture could not be read to its end. What came before was reported.
var ErrPartial = errors.New("a capture could not be read to its end")

// run is a replay on its way.
type run struct {
	Request
	observer *Observer
	framer   *capture.Framer
	dec      *wire.Decoder
	sink     sink
	read     int64 // octets of the files before this one
	total    int64
	truncate int             // packets that were cut off
	unread   [wire.Kinds]int // packets that are none of TCP's
}

// sink takes the segments that were looked at.
type sink interface {
	// segment takes a segment, which it may change, and the packet it came in.
	segment(at time.Time, p *capture.Packet, seg *wire.Segment, id int, fromClient, truncated bool) error
	finish() error
}

// Run replays captures: results to out, what is wrong with them to notes. The error is ErrPartial if a capture was corrupt.
func Run(ctx context.Context, q Request, out, notes io.Writer) (err error) {
	if err := q.check(); err != nil {
		return err
	}
	buffered := bufio.NewWriter(out)
	rep, err := newReport(buffered, q.Format, q.Delays)
	if err != nil {
		return err
	}
	var tally Tally
	framer := capture.NewFramer()
	framer.IgnoreChecksums = q.IgnoreChecksums
	r := &run{Request: q, framer: framer, dec: wire.NewDecoder(), total: sizes(q.Files)}
	r.observer = NewObserver(q.Options, func(c *Result) {
		tally.Add(c)
		if q.Extract == "" && !q.Drive {
			rep.add(c)
		}
	})
	if r.sink, err = r.newSink(buffered); err != nil {
		return err
	}
	var partial bool
	for _, name := range q.Files {
		if err := r.file(ctx, name); err != nil {
			var corrupt *capture.Error
			if !errors.As(err, &corrupt) {
				return errors.Join(err, r.sink.finish())
			}
			partial = true
			fmt.Fprintln(notes, "hushgate:", err)
		}
	}
	r.observer.Flush()
	if err := errors.Join(r.sink.finish(), rep.done()); err != nil {
		return err
	}
	if q.Extract == "" && !q.Drive && q.Format == Table {
		if err := summary(buffered, &tally, r.remarks(), q.Delays); err != nil {
			return err
		}
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	if q.Plot != "" {
		if err := Plot(q.Plot, &tally); err != nil {
			return err
		}
	}
	if partial {
		return ErrPartial
	}
	return nil
}

func (q *Request) check() error {
	switch {
	case len(q.Files) == 0:
		return errors.New("no capture: expected one file or more, - for standard input")
	case len(q.Delays) == 0:
		return errors.New("no delay")
	case len(q.Ports) == 0:
		return errors.New("no port of a service")
	case q.Extract != "" && q.Drive:
		return errors.New("--extract and --drive exclude each other")
	case q.Extract != "" && q.Write == "":
		return errors.New("--extract needs a file to write to: -w FILE")
	case q.Write != "" && q.Extract == "" && !q.Drive:
		return errors.New("-w needs --extract or --drive, which say what to write")
	case q.Anonymise && q.Extract == "":
		return errors.New("--anonymise needs --extract")
	}
	for _, d := range q.Delays {
		if d < 0 {
			return fmt.Errorf("a delay of %v: expected no less than 0", d)
		}
	}
	return nil
}

// sizes is how large the files are together, 0 if that cannot be known.
func sizes(files []string) (n int64) {
	for _, f := range files {
		info, err := os.Stat(f)
		if f == "-" || err != nil || !info.Mode().IsRegular() {
			return 0
		}
		n += info.Size()
	}
	return n
}

func (r *run) newSink(out io.Writer) (sink, error) {
	switch {
	case r.Extract != "":
		return newExtract(&r.Request)
	case r.Drive:
		return newDrive(&r.Request, out)
	}
	return none{}, nil
}

// none is the sink of an observer alone.
type none struct{}

func (none) segment(time.Time, *capture.Packet, *wire.Segment, int, bool, bool) error { return nil }
func (none) finish() error                                                            { return nil }

// progressStep is how many packets go between two reports of progress.
const progressStep = 1 << 14

func (r *run) file(ctx context.Context, name string) error {
	in, err := capture.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	var p capture.Packet
	for n := 1; ; n++ {
		err := in.Next(&p)
		switch {
		case errors.Is(err, io.EOF):
			r.read += in.FileOffset()
			return nil
		case err != nil:
			return err
		}
		if n%progressStep == 0 {
			if r.Progress != nil {
				r.Progress(r.read+in.FileOffset(), r.total)
			}
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("replay %s: %w", name, err)
			}
		}
		if err := r.packet(&p); err != nil {
			return fmt.Errorf("replay %s: %w", name, err)
		}
	}
}

func (r *run) packet(p *capture.Packet) error {
	if !r.From.IsZero() && p.Time.Before(r.From) || !r.To.IsZero() && p.Time.After(r.To) {
		return nil
	}
	f, ok := r.framer.Frame(p)
	if !ok {
		return nil
	}
	if kind := r.dec.Decode(f.Data); kind != wire.KindTCP {
		r.unread[kind]++
		return nil
	}
	seg := &r.dec.Segment
	if !r.wanted(seg) {
		return nil
	}
	id, fromClient := r.observer.Segment(p.Time, seg, f.Truncated)
	if id == 0 {
		return nil
	}
	if f.Truncated {
		r.truncate++
	}
	return r.sink.segment(p.Time, p, seg, id, fromClient, f.Truncated)
}

func (r *run) wanted(seg *wire.Segment) bool {
	return len(r.Networks) == 0 || slices.ContainsFunc(r.Networks, func(n netip.Prefix) bool {
		return n.Contains(seg.Src.Netip()) || n.Contains(seg.Dst.Netip())
	})
}

// extract writes the packets of one connection.
type extract struct {
	id       int // or, if it is 0,
	client   netip.AddrPort
	file     *os.File
	buf      *bufio.Writer
	w        *capture.Writer
	ifaces   map[capture.LinkType]int
	anon     *Anonymiser
	want     bool // to anonymise
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

// create makes a pcapng file.
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

func (x *extract) segment(at time.Time, p *capture.Packet, seg *wire.Segment, id int, fromClient, truncated bool) error {
	client := netip.AddrPortFrom(seg.Src.Netip(), seg.SrcPort)
	if !fromClient {
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
		x.anon.Segment(seg, truncated)
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
	return x.w.Packet(iface, at, data, length, "")
}

func (x *extract) finish() error {
	err := errors.Join(x.buf.Flush(), x.file.Close())
	if err == nil && x.packets == 0 {
		err = fmt.Errorf("--extract %s: no such connection in the capture", x.selected)
	}
	return err
}

// drive writes what hushgate would answer: as text, and as pcapng if asked to.
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

func (d *drive) segment(at time.Time, _ *capture.Packet, seg *wire.Segment, _ int, fromClient, _ bool) error {
	return errors.Join(d.driver.Segment(at, seg, fromClient), d.err)
}

func (d *drive) finish() error {
	d.driver.Finish()
	err := errors.Join(d.err, d.text.Err())
	if d.file != nil {
		err = errors.Join(err, d.buf.Flush(), d.file.Close())
	}
	return err
}
