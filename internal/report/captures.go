package report

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"hushgate/internal/logread"
	"hushgate/internal/replay"
)

// captures adds what captures show: each connection is judged as `hushgate replay` judges it.
func (r *Report) captures(ctx context.Context, files []file, ports []uint16) error {
	r.captured = true
	q := replay.Request{Options: replay.Options{Ports: ports}}
	for _, f := range files {
		q.Files = append(q.Files, f.name)
	}
	var unjudged, untimed, scans int
	var notes bytes.Buffer
	remarks, err := replay.Each(ctx, q, &notes, func(c *replay.Result) {
		switch {
		case c.Outcome == replay.Unjudged:
			unjudged++
		case c.Outcome == replay.NoHandshake:
			scans++
		case c.Untimed:
			untimed++
		default:
			r.Add(record(c))
		}
	})
	for _, n := range []struct {
		n    int
		what string
	}{
		{unjudged, "connections were not judged: their beginning is not in the captures"},
		{scans, "connections have no handshake in the captures"},
		{untimed, "connections are not counted: the captures have no times"},
	} {
		if n.n > 0 {
			r.remarks = append(r.remarks, fmt.Sprintf("%d %s.", n.n, n.what))
		}
	}
	for _, m := range remarks {
		r.remarks = append(r.remarks, "Captures: "+m+".")
	}
	if errors.Is(err, replay.ErrPartial) {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(notes.String()))
	}
	return err
}

// record returns a connection of a capture as one of a log.
func record(c *replay.Result) *logread.Record {
	rec := &logread.Record{
		Kind: logread.Connection, At: c.End, Client: c.Client.Addr(), Port: c.Client.Port(), Held: c.Silent, FirstOctet: c.FirstByte, Total: -1,
	}
	if c.Signature.Known() {
		rec.Signature = c.Signature.String()
	}
	switch c.Outcome {
	case replay.Talked:
		rec.Verdict, rec.FirstOctet = logread.EarlyTalker, c.Silent
	case replay.HungUp:
		rec.Verdict = logread.HangUp
	case replay.Waited, replay.NoHandshake, replay.Unjudged:
		rec.Verdict = logread.Quiet
	}
	return rec
}
