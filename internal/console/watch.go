package console

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/printable"
)

// WatchOptions say which verdicts are shown, and how.
type WatchOptions struct {
	Verdicts         []string
	Client, Frontend string
	Count            int // ends after so many; 0: never
	JSON             bool
}

// maxEvent is the longest line of the stream.
const maxEvent = 1 << 20

const (
	// silence is how long a stream may say nothing. The gateway gives a sign of life every 15 s.
	silence = time.Minute
	// reopenPatience covers a restart of the service, and is longer than one unanswered request.
	reopenPatience = 30 * time.Second
)

var (
	// errEnough ends watching when all that was asked for has come.
	errEnough = errors.New("enough")
	// errSilent ends a stream of a gateway that hangs.
	errSilent = errors.New("the gateway has sent no sign of life")
)

// Watch shows connections as they end, until ctx is done. If the stream ends, because the gateway was upgraded or restarted, it goes on
// with the next process. What was missed is said on notes.
func (c *Client) Watch(ctx context.Context, w, notes io.Writer, o *WatchOptions) error {
	if err := c.checkFrontend(ctx, o.Frontend); err != nil {
		return err
	}
	q := url.Values{}
	for name, v := range map[string]string{"verdict": strings.Join(o.Verdicts, ","), "client": o.Client, "frontend": o.Frontend} {
		if v != "" {
			q.Set(name, v)
		}
	}
	f := follower{w: w, notes: notes, json: o.JSON, left: o.Count}
	for patience := time.Duration(0); ; patience = reopenPatience {
		err := c.watchOnce(ctx, q, patience, &f)
		switch {
		case ctx.Err() != nil, errors.Is(err, errEnough):
			return nil
		case err != nil:
			return ignoreClosed(err)
		}
		_, _ = fmt.Fprintln(notes, "the gateway has ended the stream: connecting again, what came meanwhile is missing")
		if err := pause(ctx); err != nil {
			return nil
		}
	}
}

// checkFrontend finds a wrong name: a filter for a frontend that does not exist would show nothing, without a word.
func (c *Client) checkFrontend(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	var all admin.Frontends
	if err := c.get(ctx, "/v1/frontends", &all); err != nil {
		return err
	}
	var names []string
	for i := range all.Frontends {
		names = append(names, all.Frontends[i].Name)
	}
	if !slices.Contains(names, name) {
		return fmt.Errorf("--frontend: expected %s, found %q", strings.Join(names, ", "), name)
	}
	return nil
}

// watchOnce opens the stream and follows it to its end. It returns no error if the gateway has ended the stream.
func (c *Client) watchOnce(ctx context.Context, q url.Values, patience time.Duration, f *follower) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := c.openAgain(ctx, q, patience)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	f.alive = time.AfterFunc(silence, func() { cancel(errSilent) })
	defer f.alive.Stop()
	err = f.follow(stream)
	if err == nil && errors.Is(context.Cause(ctx), errSilent) {
		_, _ = fmt.Fprintf(f.notes, "%v for %v\n", errSilent, silence)
	}
	return err
}

// openAgain opens the stream, and tries again within patience if that fails: a process that ends may leave a client without an
// answer, and one that starts does not answer yet.
func (c *Client) openAgain(ctx context.Context, q url.Values, patience time.Duration) (io.ReadCloser, error) {
	for end := time.Now().Add(patience); ; {
		stream, err := c.open(ctx, q)
		var p *admin.Problem
		refused := errors.As(err, &p) && p.Status < http.StatusInternalServerError || errors.Is(err, ErrDenied)
		if err == nil || refused || !time.Now().Before(end) {
			return stream, err
		}
		if pause(ctx) != nil {
			return nil, err
		}
	}
}

// open opens the stream.
func (c *Client) open(ctx context.Context, q url.Values) (io.ReadCloser, error) {
	limited, cancel := context.WithCancelCause(ctx)
	late := time.AfterFunc(askPatience, func() { cancel(errLate) })
	stream, err := c.api.Open(limited, "/v1/verdicts", q)
	if !late.Stop() && err == nil {
		err = errors.Join(errLate, stream.Close())
	}
	if err != nil {
		defer cancel(nil)
		if errors.Is(context.Cause(limited), errLate) {
			return nil, errLate
		}
		return nil, c.explain(err)
	}
	return closing{stream, func() { cancel(nil) }}, nil
}

// closing releases something when a stream is closed.
type closing struct {
	io.ReadCloser
	release func()
}

// Close implements io.Closer.
func (c closing) Close() error {
	defer c.release()
	return c.ReadCloser.Close()
}

// pollPause is the time between two questions: whether the gateway is ready or a server idle, or after the gateway has refused one because
// there were too many in a second.
const pollPause = 100 * time.Millisecond

// pause waits before the next question, and returns an error if ctx ends before.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(pollPause):
		return nil
	}
}

// follower shows what streams bring.
type follower struct {
	w, notes io.Writer
	json     bool
	left     int // counts down to 0, unless it is 0 at the start
	alive    *time.Timer
}

// follow shows one stream until its end.
func (f *follower) follow(stream io.Reader) error { return events(stream, f.alive, f.show) }

// events reads a stream of verdicts to its end. A line that says how many were missed has no verdict.
func events(stream io.Reader, alive *time.Timer, tell func(line []byte, v *admin.Verdict, lost uint64) error) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		alive.Reset(silence)
		if len(lines.Bytes()) == 0 { // a sign of life
			continue
		}
		var e struct {
			admin.Verdict
			Lost uint64 `json:"lost"`
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("understand the stream of hushgate: %w", err)
		}
		v := &e.Verdict
		if e.Lost > 0 {
			v = nil
		}
		if err := tell(lines.Bytes(), v, e.Lost); err != nil {
			return err
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("understand the stream of hushgate: a line has more than %d octets", maxEvent)
	}
	return nil // also if the connection broke: the gateway may have crashed
}

// show shows one line of a stream.
func (f *follower) show(line []byte, v *admin.Verdict, lost uint64) error {
	if v == nil {
		_, _ = fmt.Fprintf(f.notes, "%d verdicts were missed: they came faster than they were read\n", lost)
		return nil
	}
	text := string(escaped(line))
	if !f.json {
		text = verdictLine(v)
	}
	if _, err := fmt.Fprintln(f.w, text); err != nil {
		return err
	}
	if f.left > 0 {
		if f.left--; f.left == 0 {
			return errEnough
		}
	}
	return nil
}

// verdictLine shows a connection that has ended on one line.
func verdictLine(v *admin.Verdict) string {
	parts := []string{v.Time.Local().Format(time.TimeOnly), fmt.Sprintf("%-12s", v.Verdict), v.Client, v.Frontend}
	if v.Server != "" {
		parts = append(parts, v.Backend+"/"+v.Server)
	}
	if v.FirstByteMs != nil {
		parts = append(parts, "first octet after "+span(*v.FirstByteMs))
	}
	parts = append(parts, "ended after "+span(v.TotalMs))
	if v.Observed {
		parts = append(parts, "observed")
	}
	for _, named := range [][2]string{{"rule", v.Rule}, {"pass", v.Pass}} {
		if named[1] != "" && named[1] != "unused" {
			parts = append(parts, fmt.Sprintf("%s=%q", named[0], named[1]))
		}
	}
	if v.Talk != "" { // escaped already
		parts = append(parts, `talk="`+v.Talk+`"`)
	}
	return printable.Text(strings.Join(parts, " "))
}
