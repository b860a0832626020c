package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Streams are answers without an end. How many there are is bounded, and so is how long a reader may take for what is written: a
// slow one misses verdicts, and is told how many; one that reads nothing is cut off.
const (
	maxStreams = 16 // of a level
	heartbeat  = 15 * time.Second
)

// verdictParams are the parameters of the stream.
var verdictParams = []string{"verdict", "client", "frontend"}

// VerdictNames are the verdicts that a filter can name.
var VerdictNames = []string{"none", "quiet", "early-talker", "hang-up", "no-server", "refused"}

// verdictFilter selects verdicts.
type verdictFilter struct {
	verdicts []string
	frontend string
	has      func(address string) bool
}

func (f *verdictFilter) wants(v *Verdict) bool {
	return (f.verdicts == nil || slices.Contains(f.verdicts, v.Verdict)) && (f.frontend == "" || f.frontend == v.Frontend) && f.has(v.Client)
}

// readFilter reads the parameters of the stream.
func readFilter(q *query) (f verdictFilter, err error) {
	f.verdicts = q.words("verdict", VerdictNames)
	f.frontend, _ = q.text("frontend")
	n := q.network("client")
	f.has = func(address string) bool {
		if !n.IsValid() {
			return true
		}
		a, err := parseHost(address)
		return err == nil && n.Contains(a)
	}
	return f, q.wrong
}

// lostLine says how many verdicts a reader has missed.
type lostLine struct {
	Lost uint64 `json:"lost"`
}

// stream writes events: as server-sent events to a client that accepts them, otherwise as JSON lines.
type stream struct {
	w   http.ResponseWriter
	to  *http.ResponseController
	sse bool
	buf []byte
}

func (s *stream) add(event string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write an event: %w", err)
	}
	if s.sse {
		s.buf = fmt.Appendf(s.buf, "event: %s\ndata: %s\n\n", event, text)
	} else {
		s.buf = append(append(s.buf, text...), '\n')
	}
	return nil
}

// flush writes what was added.
func (s *stream) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	if err := s.to.SetWriteDeadline(time.Now().Add(writePatience)); err != nil {
		return err
	}
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	if err != nil {
		return err
	}
	return s.to.Flush()
}

// watch streams verdicts until the client goes away or the process ends.
func (a *API) watch(w http.ResponseWriter, r *http.Request) {
	who := callerOf(r.Context())
	q := newQuery(r.URL.RawQuery, verdictParams)
	f, err := readFilter(q)
	if err != nil {
		problemOf(err).write(w)
		return
	}
	if r.Method == http.MethodHead { // there is nothing to wait for
		w.Header().Set("Content-Type", "application/x-ndjson")
		return
	}
	c := r.Context().Value(connKey{}).(*conn)
	if !a.begin(c) {
		return
	}
	defer a.end(c)
	select {
	case a.streams[who.Level] <- struct{}{}:
		defer func() { <-a.streams[who.Level] }()
	default:
		busy(fmt.Sprintf("%d clients watch already", maxStreams)).write(w)
		return
	}
	s := &stream{w: w, to: http.NewResponseController(w), sse: strings.Contains(r.Header.Get("Accept"), "text/event-stream")}
	w.Header().Set("Content-Type", "application/x-ndjson")
	if s.sse {
		w.Header().Set("Content-Type", "text/event-stream")
	}
	_ = s.to.SetReadDeadline(time.Time{}) // the client has nothing more to say
	w.WriteHeader(http.StatusOK)
	if s.to.Flush() != nil || r.Method == http.MethodHead {
		return
	}
	ctx, cancel := who.until(r.Context())
	defer cancel()
	defer context.AfterFunc(a.over, cancel)()
	_ = a.gateway.Watch(ctx, heartbeat, func(list []Verdict, lost uint64) error {
		if lost > 0 {
			if err := s.add("lost", lostLine{lost}); err != nil {
				return err
			}
		}
		for i := range list {
			if f.wants(&list[i]) {
				if err := s.add("verdict", &list[i]); err != nil {
					return err
				}
			}
		}
		if len(list) == 0 { // so that a client that is gone is noticed
			s.buf = append(s.buf, map[bool]string{true: ":\n\n", false: "\n"}[s.sse]...)
		}
		return s.flush()
	})
}
