package explain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/connlog"
	"hushgate/internal/evidence"
	"hushgate/internal/logread"
	"hushgate/internal/replay"
)

// Captures tells what captures, and the older files of hushgate's own, show of the clients of a network. Each connection is judged as
// `hushgate replay` judges it. Remarks say what was left out. What can be read
// is in the answer also if there is an error.
func Captures(ctx context.Context, names []string, ports []uint16, who netip.Prefix, most int) (v admin.Explanation, remarks []string, err error) {
	s := newSearch(who, most)
	q := replay.Request{Options: replay.Options{Ports: ports}, Networks: []netip.Prefix{who}}
	var shelves []*evidence.Shelf
	for _, name := range names {
		files, err := evidence.Files(name)
		if err != nil || !slices.Contains(files, name) { // the reader of captures says what is wrong with it
			files = append(files, name)
		}
		q.Files = append(q.Files, files...)
		if shelf, err := evidence.Look(name); err == nil {
			shelves = append(shelves, shelf)
		}
	}
	var notes bytes.Buffer
	remarks, err = replay.Each(ctx, q, &notes, s.result)
	if errors.Is(err, replay.ErrPartial) {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(notes.String()))
	}
	v = s.answer()
	for i := range v.Connections {
		c := &v.Connections[i]
		c.Lines = []string{} // there are none
		for _, shelf := range shelves {
			if c.Capture == "" && !c.Connection.Time.IsZero() {
				c.Capture = shelf.At(c.Connection.Time)
			}
		}
	}
	return v, remarks, err
}

// result takes a connection that was judged.
func (s *search) result(c *replay.Result) {
	verdict := map[replay.Outcome]string{replay.Talked: logread.EarlyTalker, replay.HungUp: logread.HangUp, replay.Waited: logread.Quiet}[c.Outcome]
	if verdict == "" { // its beginning is not there, or it had no handshake
		return
	}
	rec := &logread.Record{
		Kind: logread.Connection, At: c.End, Client: c.Client.Addr(), Port: c.Client.Port(), Service: c.Server.String(), Verdict: verdict,
		Held: c.Silent, FirstOctet: c.FirstByte, Total: -1, Talk: string(connlog.AppendEscaped(nil, c.Line)),
	}
	if verdict == logread.EarlyTalker {
		rec.FirstOctet = c.Silent
	}
	if c.Untimed {
		rec.At, rec.Held, rec.FirstOctet = time.Time{}, -1, -1
	}
	if c.Signature.Known() {
		rec.Signature = c.Signature.String()
	}
	s.take(rec)
}
