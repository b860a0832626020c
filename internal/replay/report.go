package replay

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"hushgate/internal/wire"
)

// Format is how results are written.
type Format string

// The formats.
const (
	Table Format = "table" // for people
	JSON  Format = "json"  // an object on each line
	CSV   Format = "csv"   // RFC 4180, with a header
)

// report writes results as they come.
type report struct {
	w      io.Writer
	format Format
	delays []time.Duration // the first is the table's
	csv    *csv.Writer
	rows   int
	err    error
}

func newReport(w io.Writer, format Format, delays []time.Duration) (*report, error) {
	switch format {
	case Table, JSON, CSV:
		return &report{w: w, format: format, delays: delays, csv: csv.NewWriter(w)}, nil
	}
	return nil, fmt.Errorf("--output %s: expected table, json or csv", format)
}

func (r *report) add(c *Result) {
	switch r.format {
	case JSON:
		r.json(c)
	case CSV:
		r.comma(c)
	case Table:
		r.table(c)
	}
	r.rows++
}

func (r *report) keep(err error) {
	if r.err == nil && err != nil {
		r.err = fmt.Errorf("write the results: %w", err)
	}
}

// done writes what is buffered and returns the first error.
func (r *report) done() error {
	r.csv.Flush()
	r.keep(r.csv.Error())
	return r.err
}

const tableRow = "%7s  %-21s %-21s  %9s %9s  %-34s %s\n"

func (r *report) table(c *Result) {
	if r.rows == 0 {
		_, err := fmt.Fprintf(r.w, tableRow, "conn", "client", "server", "1st byte", "banner", "verdict at "+brief(r.delays[0]), "first line")
		r.keep(err)
	}
	line := escape(c.Line)
	if words := c.Notes.Words(); len(words) > 0 {
		line = strings.TrimSpace(line + "  [" + strings.Join(words, ", ") + "]")
	}
	_, err := fmt.Fprintf(r.w, tableRow, strconv.Itoa(c.ID), c.Client, c.Server, elapsed(c.FirstByte), elapsed(c.Banner),
		r.verdict(c), line)
	r.keep(err)
}

// verdict is the verdict in words for people.
func (r *report) verdict(c *Result) string {
	switch v := c.At(r.delays[0]); {
	case v == Untested:
		return "quiet, not tested beyond " + brief(c.Silent)
	case v == None:
		return c.Outcome.String()
	default:
		return string(v)
	}
}

// jsonResult is a result as an object. Times are in milliseconds from the handshake's last ACK, null if they did not come.
type jsonResult struct {
	ID        int                `json:"id"`
	Client    string             `json:"client"`
	Server    string             `json:"server"`
	Begin     time.Time          `json:"begin"`
	Outcome   string             `json:"outcome"`
	Silent    float64            `json:"silent_ms"`
	FirstByte *float64           `json:"first_byte_ms"`
	Banner    *float64           `json:"banner_ms"`
	Verdicts  map[string]Verdict `json:"verdicts"`
	Line      string             `json:"first_line"`
	Segments  int                `json:"segments"`
	Notes     []string           `json:"notes,omitempty"`
}

func (r *report) json(c *Result) {
	verdicts := make(map[string]Verdict, len(r.delays))
	for _, d := range r.delays {
		verdicts[brief(d)] = c.At(d)
	}
	line, err := json.Marshal(jsonResult{
		c.ID, c.Client.String(), c.Server.String(), c.Begin, c.Outcome.String(), millis(c.Silent), orNull(c.FirstByte),
		orNull(c.Banner), verdicts, escape(c.Line), c.Segments, c.Notes.Words(),
	})
	r.keep(err)
	_, err = r.w.Write(append(line, '\n'))
	r.keep(err)
}

func (r *report) comma(c *Result) {
	if r.rows == 0 {
		head := []string{"id", "client", "client_port", "server", "server_port", "begin", "outcome", "silent_ms", "first_byte_ms", "banner_ms"}
		for _, d := range r.delays {
			head = append(head, "verdict_"+brief(d))
		}
		r.keep(r.csv.Write(append(head, "first_line", "segments", "notes")))
	}
	number := func(d time.Duration) string {
		if d < 0 {
			return ""
		}
		return strconv.FormatFloat(millis(d), 'f', 3, 64)
	}
	row := []string{
		strconv.Itoa(c.ID), c.Client.Addr().String(), strconv.Itoa(int(c.Client.Port())), c.Server.Addr().String(),
		strconv.Itoa(int(c.Server.Port())), c.Begin.Format(time.RFC3339Nano), c.Outcome.String(), number(c.Silent),
		number(c.FirstByte), number(c.Banner),
	}
	for _, d := range r.delays {
		row = append(row, string(c.At(d)))
	}
	r.keep(r.csv.Write(append(row, escape(c.Line), strconv.Itoa(c.Segments), strings.Join(c.Notes.Words(), "; "))))
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func orNull(d time.Duration) *float64 {
	if d < 0 {
		return nil
	}
	v := millis(d)
	return &v
}

func elapsed(d time.Duration) string {
	if d < 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f s", d.Seconds())
}

// brief is a time as configurations have it: 30s, 300ms.
func brief(d time.Duration) string {
	if d >= time.Second {
		return strconv.FormatFloat(d.Round(time.Millisecond).Seconds(), 'f', -1, 64) + "s"
	}
	return strconv.FormatFloat(float64(d.Round(time.Microsecond))/float64(time.Millisecond), 'f', -1, 64) + "ms"
}

// escape makes a client's octets printable, as the connection log does.
func escape(b []byte) string {
	q := strconv.QuoteToASCII(string(b))
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// remarks say how far the capture can be trusted.
func (r *run) remarks() (list []string) {
	s := &r.observer.Stats
	for _, c := range []struct {
		n    int
		what string
	}{
		{r.truncate, "packets are cut off by the capture: judged by the lengths in their headers"},
		{s.Checksums, "segments ignored for a wrong checksum (--ignore-checksums takes them)"},
		{r.unread[wire.KindBadIP], "packets ignored for a wrong IP header (--ignore-checksums takes those whose checksum alone is wrong)"},
		{
			r.unread[wire.KindShort] + r.unread[wire.KindBadTCP] + r.unread[wire.KindBadAddress] + r.unread[wire.KindExtension],
			"packets ignored that are too short, or have headers that no TCP segment can have",
		},
		{r.unread[wire.KindFragment], "IPv6 fragments ignored"},
		{s.Backwards, "packets older than the one before them"},
		{s.Evicted, "connections judged before their end, for want of room (--max-connections)"},
	} {
		if c.n > 0 {
			list = append(list, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	return list
}

// summary writes what many delays would have done, and how far that can be trusted.
func summary(w io.Writer, t *Tally, remarks []string, delays []time.Duration) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d connections: %d judged, %d begun before the capture, %d without a handshake\n", t.Results,
		t.Outcomes[Talked]+t.Outcomes[HungUp]+t.Outcomes[Waited], t.Outcomes[Unjudged], t.Outcomes[NoHandshake])
	for _, r := range remarks {
		fmt.Fprintln(&b, r)
	}
	const row = "%8s  %13s %9s %9s  %9s %9s  %9s\n"
	fmt.Fprintf(&b, "\n"+row, "delay", "early talkers", "senders", "networks", "hang-ups", "quiet", "untested")
	for _, r := range t.Rows(slices.Sorted(slices.Values(delays))) {
		more := ""
		if r.More {
			more = "+"
		}
		fmt.Fprintf(&b, row, brief(r.Delay), strconv.Itoa(r.EarlyTalked), strconv.Itoa(r.Senders)+more,
			strconv.Itoa(r.Networks)+more, strconv.Itoa(r.HungUp), strconv.Itoa(r.Quiet), strconv.Itoa(r.Untested))
	}
	fmt.Fprintf(&b, "\nuntested: quiet until the banner, or to the end of what was captured, which came before the delay was over\n")
	_, err := io.WriteString(w, b.String())
	if err != nil {
		return fmt.Errorf("write the summary: %w", err)
	}
	return nil
}
