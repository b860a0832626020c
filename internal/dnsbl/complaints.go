package dnsbl

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// complaints logs what goes wrong, once a minute for each list and cause, with how often it did since the last line.
type complaints struct {
	log *slog.Logger
	now func() time.Time

	writing sync.WaitGroup
	mu      sync.Mutex
	seen    map[topic]*series
}

// topic is what has lines of its own. There are as many as lists times causes.
type topic struct {
	list  string // empty: it is about no list
	cause string
}

type series struct {
	last  time.Time
	count int // since the last line
}

// logEvery is how often a topic has a line.
const logEvery = time.Minute

// note counts one occurrence, and logs if it is time to. It does not wait for the log, which may be slow.
func (c *complaints) note(list, cause string, args ...any) {
	c.mu.Lock()
	t, now := topic{list, cause}, c.now()
	s := c.seen[t]
	if s == nil {
		if c.seen == nil {
			c.seen = map[topic]*series{}
		}
		s = &series{}
		c.seen[t] = s
	}
	s.count++
	count := s.count
	since := now.Sub(s.last)
	due := s.last.IsZero() || since >= logEvery
	if due {
		if args = append(args[:len(args):len(args)], "times", count); !s.last.IsZero() {
			args = append(args, "within", since.Round(time.Second))
		}
		s.last, s.count = now, 0
	}
	c.mu.Unlock()
	if !due {
		return
	}
	fields := make([]any, 0, len(args)+4)
	if list != "" {
		fields = append(fields, "list", list)
	}
	fields = append(append(fields, "cause", cause), args...)
	c.writing.Go(func() { c.log.Log(context.Background(), slog.LevelWarn, "DNS list not counted", fields...) })
}

// causeOf names what went wrong, in few words that are the same each time.
func causeOf(err error) string {
	for _, c := range []struct {
		is   error
		name string
	}{
		{errLie, "addresses outside 127.0.0.0/8"},
		{errRefused, "list refuses the resolver"},
		{errChain, "endless CNAME records"},
		{errCode, "error code"},
		{errEDNS, "error code"},
		{errSilence, "no answer"},
	} {
		if errors.Is(err, c.is) {
			return c.name
		}
	}
	return "resolvers unknown"
}
