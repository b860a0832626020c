package top

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// linesUntil ends a context after some writes.
type linesUntil struct {
	bytes.Buffer
	left int
	end  func()
}

// Write implements io.Writer.
func (l *linesUntil) Write(p []byte) (int, error) {
	if l.left--; l.left == 0 {
		l.end()
	}
	return l.Buffer.Write(p)
}

// failing is a source that answers every second time.
type failing struct {
	fakeSource
	asked int
}

func (f *failing) Look(context.Context) (Look, error) {
	if f.asked++; f.asked%2 == 0 {
		return Look{}, errors.New("no gateway runs")
	}
	return busyLook(moment.Add(time.Duration(f.asked)*time.Second), f.asked), nil
}

// TestPrint: lines of JSON go on while no gateway answers, and say so. Once ends after a screen, or with the error.
func TestPrint(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := &linesUntil{left: 4, end: cancel}
	o := &BatchOptions{Options: Options{Interval: time.Millisecond, Now: time.Now, Dress: Dress{Plain: true}}, JSON: true, Out: out, Width: 100}
	if err := Print(ctx, &failing{}, o); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, text := range lines {
		var v Sample
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if failed := i%2 == 0; failed != (v.Error == "no gateway runs") || failed != (v.Rates == nil) || v.Status.PID != 7 || len(v.Talkers) != batchRows {
			t.Errorf("line %d: error %q, rates %v, process %d, %d talkers", i, v.Error, v.Rates, v.Status.PID, len(v.Talkers))
		}
	}
	if len(lines) != 4 {
		t.Errorf("%d lines", len(lines))
	}
	o.Once = true
	if err := Print(t.Context(), &failing{}, o); err == nil || err.Error() != "no gateway runs" {
		t.Errorf("once, and no answer: %v", err)
	}
	o.JSON = false
	var text bytes.Buffer
	o.Out = &text
	if err := Print(t.Context(), &fakeSource{look: busyLook(moment, 9)}, o); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"Servers: by file, 3\n", "Conns: by age, 1-20 of 31\n", "Verdicts: by time, 0\n"} {
		if !strings.Contains(text.String(), s) {
			t.Errorf("no %q in\n%s", s, text.String())
		}
	}
	o.Out = closed{}
	if err := Print(t.Context(), &fakeSource{look: busyLook(moment, 9)}, o); err != nil {
		t.Errorf("nobody reads any more: %v", err)
	}
}

// closed is a pipe that nobody reads.
type closed struct{ io.Writer }

// Write implements io.Writer.
func (closed) Write([]byte) (int, error) { return 0, os.ErrClosed }
