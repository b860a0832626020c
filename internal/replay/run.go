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

// Request holds the arguments of `hushgate replay`.
type Request struct {
	Files  []string // "-" is standard input
	Format Format
	Delays []time.Duration // the first one is used in the table
	Plot   string          // file for the curve; "" for none
	// Signatures adds the clients' signatures to the table. JSON and CSV always have them.
	Signatures bool

	Options
	From, To time.Time      // time range of packets; zero means no bound
	Networks []netip.Prefix // networks, one of which must contain an end of the connection; empty means all

	Drive     bool
	Reply     bool
	Write     string // pcapng file for the answers of Drive, or for the connection of Extract
	Extract   string // a connection, by its ID or as client:port
	Anonymise bool

	// Policy is a configuration whose policy is applied to the capture; "" for none. Its bind lines say which frontend a
	// connection belongs to, and which ports are those of services if Ports has none.
	Policy   string
	Frontend string // the frontend of all services that no bind line has; "" for none
	Passes   string // a file of passes to begin with; "" for none

	Application string                  // the application named in written files
	Progress    func(read, total int64) // called now and then; may be nil
}

// ErrPartial means that a capture could not be read to its end. The results up to there were written.
var ErrPartial = errors.New("a capture could not be read to its end")

// run is a running replay.
type run struct {
	Request
	observer *Observer
	framer   *capture.Framer
	dec      *wire.Decoder
	sink     sink
	read     int64 // octets of the files before the current one
	total    int64
	truncate int // truncated packets
	left     leftOut

	rehearsal *rehearsal // the sink, if a policy is applied
}

// sink receives the segments that were observed.
type sink interface {
	// clock receives the time of a segment, before the Observer sees that: zero if unknown.
	clock(at time.Time)
	// segment receives a segment, which it may change, with its packet and frame.
	segment(p *capture.Packet, f *capture.Frame, seg *wire.Segment, v view) error
	// ended hears of the end of a connection, or of the end of what the capture shows of it. Its last segment may follow.
	ended(c *Result)
	// finish ends the sink's work and returns its remarks.
	finish() ([]remark, error)
}

// Run replays captures. It writes results to out, and problems of the captures to notes. The error is ErrPartial if one is
// corrupt.
func Run(ctx context.Context, q Request, out, notes io.Writer) (err error) {
	policy, err := q.prepare()
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(out)
	rep, err := newReport(buffered, &q)
	if err != nil {
		return err
	}
	var tally Tally
	r := newRun(&q)
	r.observer = NewObserver(q.Options, func(c *Result) {
		tally.Add(c)
		if q.listed() {
			rep.add(c)
		}
		r.sink.ended(c)
	})
	if policy != nil {
		r.rehearsal = newRehearsal(&q, policy, rep.deed)
		r.sink = r.rehearsal
	} else if r.sink, err = r.newSink(buffered); err != nil {
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

func newRun(q *Request) *run {
	framer := capture.NewFramer()
	framer.IgnoreChecksums = q.IgnoreChecksums
	r := &run{Request: *q, framer: framer, dec: wire.NewDecoder(), total: sizes(q.Files), left: newLeftOut(framer.Left)}
	r.dec.Onlooker = true
	return r
}

// Each judges captures as Run does, and calls f for each connection. Remarks tell what was left out, and why. Of the request it uses
// Files, Options, From, To, Networks and Progress. The error is ErrPartial if a capture is corrupt, after all that it has; the reason is
// in notes.
func Each(ctx context.Context, q Request, notes io.Writer, f func(*Result)) (remarks []string, err error) {
	r := newRun(&q)
	r.observer, r.sink = NewObserver(q.Options, f), none{}
	partial, err := r.files(ctx, notes)
	if err != nil {
		return nil, err
	}
	r.framer.Flush()
	r.observer.Flush()
	for _, m := range r.remarks() {
		remarks = append(remarks, m.String())
	}
	if partial {
		err = ErrPartial
	}
	return remarks, err
}

// files reads all files. Partial means that one could not be read to its end; the reason is written to notes.
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

// conclude writes the summary.
func (r *run) conclude(rep *report, tally *Tally, notes io.Writer) error {
	r.framer.Flush()
	r.observer.Flush()
	done, err := r.sink.finish()
	if err := errors.Join(err, rep.done()); err != nil {
		return err
	}
	remarks := append(r.remarks(), done...)
	switch {
	case r.rehearsal != nil:
		return rep.summarisePolicy(r.rehearsal, tally, remarks, notes)
	case r.listed():
		return rep.summarise(tally, remarks, notes)
	}
	noteRemarks(notes, remarks)
	return nil
}

// listed reports whether the connections are reported as observed.
func (q *Request) listed() bool { return q.Extract == "" && !q.Drive && q.Policy == "" }

// prepare checks the request, and reads the policy if it has one.
func (q *Request) prepare() (p *policyFile, err error) {
	if q.Policy == "" {
		return nil, q.check()
	}
	if err := q.checkPolicy(); err != nil {
		return nil, err
	}
	if p, err = loadPolicy(q.Policy, q.Frontend); err != nil {
		return nil, err
	}
	if len(q.Ports) == 0 {
		q.Ports = p.ports()
	}
	return p, q.check()
}

func (q *Request) checkPolicy() error {
	for _, c := range []struct {
		what string
		is   bool
	}{{"--drive", q.Drive}, {"--extract", q.Extract != ""}, {"--plot", q.Plot != ""}} {
		if c.is {
			return fmt.Errorf("--policy and %s exclude each other", c.what)
		}
	}
	return nil
}

func (q *Request) check() error {
	switch {
	case len(q.Files) == 0:
		return errors.New("no capture: expected at least one file, - for standard input")
	case len(q.Delays) == 0:
		return errors.New("no delay: expected at least one")
	case len(q.Ports) == 0:
		return errors.New("no port: expected at least one port of a service")
	case q.Extract != "" && q.Drive:
		return errors.New("--extract and --drive exclude each other")
	case q.Extract != "" && q.Write == "":
		return errors.New("--extract needs a file to write to: -w FILE")
	case q.Write != "" && q.Extract == "" && !q.Drive:
		return errors.New("-w needs --extract or --drive, which say what to write")
	case q.Anonymise && q.Extract == "":
		return errors.New("--anonymise needs --extract")
	case q.Policy == "" && q.Frontend != "":
		return errors.New("--frontend needs --policy, whose frontend it names")
	case q.Policy == "" && q.Passes != "":
		return errors.New("--passes needs --policy")
	case q.Reply && !q.Drive:
		return errors.New("--reply needs --drive")
	case q.Signatures && (q.Drive || q.Extract != ""):
		return errors.New("--signatures excludes --drive and --extract, which write no table of connections")
	}
	for _, d := range q.Delays {
		if d < 0 {
			return fmt.Errorf("delay %v: expected at least 0", d)
		}
	}
	return nil
}

// sizes returns the total size of the files; 0 if it cannot be determined.
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

// none is the sink for observing only.
type none struct{}

func (none) segment(*capture.Packet, *capture.Frame, *wire.Segment, view) error { return nil }
func (none) clock(time.Time)                                                    {}
func (none) ended(*Result)                                                      {}
func (none) finish() ([]remark, error)                                          { return nil, nil }

// progressStep is the number of packets between two reports of progress.
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
	r.sink.clock(p.Time)
	v := r.observer.view(p.Time, seg, f.Truncated)
	if f.Truncated {
		r.truncate++
	}
	return r.sink.segment(p, &f, seg, v)
}

// inPeriod reports whether a packet is in the requested period. A packet without a time is in no bounded period.
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
