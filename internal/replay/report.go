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
)

// Format is the format of the results.
type Format string

// The formats.
const (
	Table Format = "table" // for people
	JSON  Format = "json"  // an object on each line
	CSV   Format = "csv"   // RFC 4180, with a header
)

// report writes results as they are found.
type report struct {
	w      io.Writer
	format Format
	delays []time.Duration // the first one is used in the table
	signed bool            // the table has signatures
	stacks *stacks
	csv    *csv.Writer
	rows   int
	err    error
}

func newReport(w io.Writer, q *Request) (*report, error) {
	switch q.Format {
	case Table, JSON, CSV:
		return &report{
			w: w, format: q.Format, delays: q.Delays, signed: q.Signatures, stacks: newStacks(), csv: csv.NewWriter(w),
		}, nil
	}
	return nil, fmt.Errorf("--output %s: expected table, json or csv", q.Format)
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
	r.stacks.add(c.Signature, c.At(r.delays[0]), c.Outcome != NoHandshake)
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
		_, err := fmt.Fprintf(r.w, tableRow, "conn", "client", "server", "1st byte", "banner", "verdict at "+brief(r.delays[0]),
			r.sign("signature")+"first line")
		r.keep(err)
	}
	line := escape(c.Line)
	if words := c.Notes.Words(); len(words) > 0 {
		line = strings.TrimSpace(line + "  [" + strings.Join(words, ", ") + "]")
	}
	_, err := fmt.Fprintf(r.w, tableRow, strconv.Itoa(c.ID), c.Client, c.Server, c.elapsed(c.FirstByte), c.elapsed(c.Banner),
		r.verdict(c), strings.TrimRight(r.sign(c.Signature.String())+line, " "))
	r.keep(err)
}

// sign returns the column of signatures, which is empty unless it is wanted.
func (r *report) sign(text string) string {
	if !r.signed {
		return ""
	}
	return fmt.Sprintf("%-30s  ", text)
}

// verdict returns the verdict as shown in the table.
func (r *report) verdict(c *Result) string {
	switch v := c.At(r.delays[0]); {
	case v == Unknown:
		return map[Outcome]string{Talked: "early-talker, unknown when", HungUp: "hang-up, unknown when", Waited: "quiet, unknown how long"}[c.Outcome]
	case v == Untested:
		return "quiet, not tested beyond " + brief(c.Silent)
	case v == None:
		return c.Outcome.String()
	default:
		return string(v)
	}
}

// jsonResult is a result as an object. Times are in milliseconds from the handshake's last ACK; null if the event did not
// happen, or its time is unknown.
type jsonResult struct {
	ID        int                `json:"id"`
	Client    string             `json:"client"`
	Server    string             `json:"server"`
	Begin     *time.Time         `json:"begin"`
	Outcome   string             `json:"outcome"`
	Silent    *float64           `json:"silent_ms"`
	FirstByte *float64           `json:"first_byte_ms"`
	Banner    *float64           `json:"banner_ms"`
	Verdicts  map[string]Verdict `json:"verdicts"`
	Line      string             `json:"first_line"`
	Segments  int                `json:"segments"`
	Signature *string            `json:"signature"` // null if the SYN is not in the capture
	Notes     []string           `json:"notes,omitempty"`
}

func (r *report) json(c *Result) {
	verdicts := make(map[string]Verdict, len(r.delays))
	for _, d := range r.delays {
		verdicts[brief(d)] = c.At(d)
	}
	var begin *time.Time
	if !c.Begin.IsZero() {
		begin = &c.Begin
	}
	line, err := json.Marshal(jsonResult{
		c.ID, c.Client.String(), c.Server.String(), begin, c.Outcome.String(), c.orNull(c.Silent), c.orNull(c.FirstByte),
		c.orNull(c.Banner), verdicts, escape(c.Line), c.Segments, signatureOrNull(&c.Signature), c.Notes.Words(),
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
		r.keep(r.csv.Write(append(head, "first_line", "segments", "notes", "signature")))
	}
	number := func(d time.Duration) string {
		if d < 0 || c.Untimed {
			return ""
		}
		return strconv.FormatFloat(millis(d), 'f', 3, 64)
	}
	begin := ""
	if !c.Begin.IsZero() {
		begin = c.Begin.Format(time.RFC3339Nano)
	}
	row := []string{
		strconv.Itoa(c.ID), c.Client.Addr().String(), strconv.Itoa(int(c.Client.Port())), c.Server.Addr().String(),
		strconv.Itoa(int(c.Server.Port())), begin, c.Outcome.String(), number(c.Silent),
		number(c.FirstByte), number(c.Banner),
	}
	for _, d := range r.delays {
		row = append(row, string(c.At(d)))
	}
	signature := ""
	if c.Signature.Known() {
		signature = c.Signature.String()
	}
	r.keep(r.csv.Write(append(row, escape(c.Line), strconv.Itoa(c.Segments), strings.Join(c.Notes.Words(), "; "), signature)))
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (r *Result) orNull(d time.Duration) *float64 {
	if d < 0 || r.Untimed {
		return nil
	}
	v := millis(d)
	return &v
}

func (r *Result) elapsed(d time.Duration) string {
	switch {
	case d < 0:
		return "-"
	case r.Untimed:
		return "?"
	}
	return fmt.Sprintf("%.3f s", d.Seconds())
}

// brief formats a duration as in configurations: 30s, 300ms.
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

// summary writes what the delays would have done, and how far that can be trusted.
func (r *report) summary(t *Tally, remarks []remark) error {
	var b strings.Builder
	judged, timed := t.Judged()
	fmt.Fprintf(&b, "\n%d connections: %d judged, %d begun before the capture, %d without a handshake\n", t.Results, judged,
		t.Outcomes[Unjudged], t.Outcomes[NoHandshake])
	if judged > timed {
		fmt.Fprintf(&b, "%d of them have no times: %d talked before the banner, %d hung up before it, %d waited; the rows below do not include them\n",
			judged-timed, t.Untimed[Talked], t.Untimed[HungUp], t.Untimed[Waited])
	}
	for _, m := range remarks {
		fmt.Fprintln(&b, m)
	}
	if timed == 0 && judged > 0 {
		fmt.Fprintf(&b, "\nwithout times it is unknown what a delay would have done\n")
	} else {
		rows(&b, t, r.delays)
	}
	if r.signed {
		r.stacks.write(&b, "signature at "+brief(r.delays[0]), &observedColumns)
	}
	if _, err := io.WriteString(r.w, b.String()); err != nil {
		return fmt.Errorf("write the summary: %w", err)
	}
	return nil
}

// rows writes a row for each delay.
func rows(b *strings.Builder, t *Tally, delays []time.Duration) {
	const row = "%8s  %13s %9s %9s  %9s %9s  %9s\n"
	fmt.Fprintf(b, "\n"+row, "delay", "early talkers", "senders", "networks", "hang-ups", "quiet", "untested")
	for _, r := range t.Rows(slices.Sorted(slices.Values(delays))) {
		more := ""
		if r.More {
			more = "+"
		}
		fmt.Fprintf(b, row, brief(r.Delay), strconv.Itoa(r.EarlyTalked), strconv.Itoa(r.Senders)+more,
			strconv.Itoa(r.Networks)+more, strconv.Itoa(r.HungUp), strconv.Itoa(r.Quiet), strconv.Itoa(r.Untested))
	}
	fmt.Fprintf(b, "\nuntested: quiet until the banner or the end of the capture, which came before the end of the delay\n")
}

// jsonSummary is the last object of the JSON format: the number of connections by kind, and the remarks about the capture.
type jsonSummary struct {
	Connections int      `json:"connections"`
	Judged      int      `json:"judged"`
	Untimed     int      `json:"without_times"`
	Unjudged    int      `json:"begun_before"`
	NoHandshake int      `json:"no_handshake"`
	Remarks     []remark `json:"remarks"`
	jsonStacks
}

// summarise writes the summary in the chosen format. Remarks that have no place in it go to notes.
func (r *report) summarise(t *Tally, remarks []remark, notes io.Writer) error {
	switch r.format {
	case Table:
		return r.summary(t, remarks)
	case JSON:
		judged, timed := t.Judged()
		if remarks == nil {
			remarks = []remark{}
		}
		err := json.NewEncoder(r.w).Encode(map[string]jsonSummary{"summary": {
			t.Results, judged, judged - timed, t.Outcomes[Unjudged], t.Outcomes[NoHandshake], remarks, r.stacks.json(brief(r.delays[0])),
		}})
		if err != nil {
			return fmt.Errorf("write the summary: %w", err)
		}
	case CSV:
		noteRemarks(notes, remarks)
	}
	return nil
}

// noteRemarks writes the remarks to notes.
func noteRemarks(notes io.Writer, remarks []remark) {
	for _, m := range remarks {
		fmt.Fprintln(notes, "hushgate:", m)
	}
}
