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
	truncate int // packets that were cut off
	left     leftOut
}

// sink takes the segments that were looked at.
type sink interface {
	// segment takes a segment, which it may change, and the packet and the frame it came in.
	segment(p *capture.Packet, f *capture.Frame, seg *wire.Segment, id int, fromClient bool) error
	// finish returns what is to be known about what was done.
	finish() ([]remark, error)
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
	r := &run{Request: q, framer: framer, dec: wire.NewDecoder(), total: sizes(q.Files), left: newLeftOut(framer.Left)}
	r.dec.Onlooker = true
	r.observer = NewObserver(q.Options, func(c *Result) {
		tally.Add(c)
		if q.Extract == "" && !q.Drive {
			rep.add(c)
		}
	})
	if r.sink, err = r.newSink(buffered); err != nil {
		return err
	}
	partial, err := r.files(ctx, notes)
	if err != nil {
		_, ended := r.sink.finish()
		return errors.Join(err, ended)
	}
	if err := r.conclude(rep, &tally, notes); err != nil {
		return err
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

// files reads all files. Partial says that one could not be read to its end; notes say why.
func (r *run) files(ctx context.Context, notes io.Writer) (partial bool, err error) {
	for _, name := range r.Files {
		if err := r.file(ctx, name); err != nil {
			var corrupt *capture.Error
			if !errors.As(err, &corrupt) {
				return partial, err
			}
			partial = true
			fmt.Fprintln(notes, "hushgate:", err)
		}
	}
	return partial, nil
}

// conclude writes what is said at the end.
func (r *run) conclude(rep *report, tally *Tally, notes io.Writer) error {
	r.framer.Flush()
	r.observer.Flush()
	done, err := r.sink.finish()
	if err := errors.Join(err, rep.done()); err != nil {
		return err
	}
	remarks := append(r.remarks(), done...)
	if r.Extract != "" || r.Drive {
		noteRemarks(notes, remarks)
		return nil
	}
	return rep.summarise(tally, remarks, notes)
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

func (none) segment(*capture.Packet, *capture.Frame, *wire.Segment, int, bool) error { return nil }
func (none) finish() ([]remark, error)                                               { return nil, nil }

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
	if !r.inPeriod(p.Time) {
		r.left.period++
		return nil
	}
	f, ok := r.framer.Frame(p)
	if !ok {
		return nil
	}
	if kind := r.dec.Decode(f.Data); kind != wire.KindTCP {
		r.left.unread(kind, f.Data)
		return nil
	}
	seg := &r.dec.Segment
	switch {
	case !slices.Contains(r.Ports, seg.DstPort) && !slices.Contains(r.Ports, seg.SrcPort):
		r.left.other(seg)
		return nil
	case !r.wanted(seg):
		r.left.net++
		return nil
	}
	id, fromClient := r.observer.Segment(p.Time, seg, f.Truncated)
	if f.Truncated {
		r.truncate++
	}
	return r.sink.segment(p, &f, seg, id, fromClient)
}

// inPeriod reports whether a packet is one that is asked for. One without a time is none if times are asked for.
func (r *run) inPeriod(at time.Time) bool {
	if at.IsZero() {
		return r.From.IsZero() && r.To.IsZero()
	}
	return (r.From.IsZero() || !at.Before(r.From)) && (r.To.IsZero() || !at.After(r.To))
}

func (r *run) wanted(seg *wire.Segment) bool {
	return len(r.Networks) == 0 || slices.ContainsFunc(r.Networks, func(n netip.Prefix) bool {
		return n.Contains(seg.Src.Netip()) || n.Contains(seg.Dst.Netip())
	})
}
