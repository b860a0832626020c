package top

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/admin"
)

// Sample is a line of JSON: how the gateway was in one interval.
type Sample struct {
	Time      time.Time        `json:"time"`
	Status    admin.Status     `json:"status"`
	Frontends []admin.Frontend `json:"frontends"`
	Servers   []admin.Server   `json:"servers"`
	Rates     *Rates           `json:"rates"`   // null: not known, because another process answered before
	Talkers   []Talker         `json:"talkers"` // those with the most connections
	Tables    []Table          `json:"tables"`
	Missed    uint64           `json:"verdicts_missed"`
	Error     string           `json:"error,omitempty"` // there was no answer; the rest is what was known before
}

// batchRows is how many rows of a table, and talkers of a sample, are written.
const batchRows = 20

// BatchOptions say what is written where there is no screen.
type BatchOptions struct {
	Options
	Width int
	JSON  bool
	Once  bool // after one interval there is an end
	Out   io.Writer
}

// Print writes what the screen would show, once in an interval: lines of JSON, or text.
func Print(ctx context.Context, s Source, o *BatchOptions) error {
	first, err := s.Look(ctx)
	if err != nil {
		return err
	}
	var r record
	r.see(first)
	batches := make(chan Batch)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go follow(ctx, s, batches)
	tick := time.NewTicker(o.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case b := <-batches:
			r.take(&b)
			continue
		case <-tick.C:
		}
		failed := r.lookAgain(ctx, s)
		if ctx.Err() != nil {
			return nil
		}
		if o.Once && failed != nil {
			return failed
		}
		if err := o.print(&r, failed); err != nil || o.Once {
			if errors.Is(err, os.ErrClosed) || errors.Is(err, unix.EPIPE) {
				return nil
			}
			return err
		}
	}
}

// follow passes batches on, and asks again after the stream has ended.
func follow(ctx context.Context, s Source, to chan<- Batch) {
	for ctx.Err() == nil {
		b, err := s.Verdicts(ctx)
		select {
		case to <- b:
		case <-ctx.Done():
		}
		if err != nil {
			select {
			case <-time.After(followPause):
			case <-ctx.Done():
			}
		}
	}
}

func (r *record) lookAgain(ctx context.Context, s Source) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lookPatience, fmt.Errorf("the gateway has not answered within %v", lookPatience))
	defer cancel()
	v, err := s.Look(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		r.miss()
		return err
	}
	r.see(v)
	return nil
}

func (o *BatchOptions) print(r *record, failed error) error {
	p := r.picture()
	if o.JSON {
		return json.NewEncoder(o.Out).Encode(sampleOf(p, o.Now(), failed))
	}
	s := &screen{Picture: p, dress: o.Dress, width: o.Width, host: o.Host, interval: o.Interval}
	if failed != nil {
		s.alert = fmt.Sprintf("No answer: %v.", failed)
	}
	lines := s.overview(false)
	choices := make([]choice, len(panes))
	for i := range panes {
		rows, of := panes[i].rows(p, &choices[i])
		lines = append(lines, line{}, line{{fmt.Sprintf("%s: %s", panes[i].name(), s.about(panes[i], &choices[i], 0, min(len(rows), batchRows), len(rows), of, false)), bold}})
		lines = append(lines, s.dress.table(panes[i].head(), rows[:min(len(rows), batchRows)], -1, s.width)...)
	}
	for _, l := range append(lines, line{}) {
		if _, err := fmt.Fprintln(o.Out, o.Dress.render(l, o.Width)); err != nil {
			return err
		}
	}
	return nil
}

func sampleOf(p *Picture, now time.Time, failed error) *Sample {
	rows, _ := talkerList.rows(p, &choice{})
	v := &Sample{Time: now, Status: p.Status, Frontends: p.Frontends, Servers: p.Servers, Rates: p.Rates, Tables: p.Tables, Talkers: []Talker{}, Missed: p.Lost}
	byName := map[string]*Talker{}
	for i := range p.Talkers {
		byName[prefixName(p.Talkers[i].Client)] = &p.Talkers[i]
	}
	for _, r := range rows[:min(len(rows), batchRows)] {
		v.Talkers = append(v.Talkers, *byName[r.key])
	}
	if failed != nil {
		v.Error = failed.Error()
	}
	return v
}
