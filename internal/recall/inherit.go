package recall

import (
	"bufio"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"slices"

	"hushgate/dataplane"
	"hushgate/internal/connlog"
)

// Another process can go on with what is remembered. It gets the connections with the names of their time, the oldest first, so that
// neither process needs to know how the other one keeps them.

// part is some connections that have the same names.
type part struct {
	Names  *connlog.Names // nil: those of the part before
	Events []dataplane.Event
	Talks  [][]byte // their TalkHead: package gob takes long for an array of octets
}

// Save writes what is remembered. Shards that go on never wait long for it.
func (m *Memory) Save(to io.Writer) error {
	out := bufio.NewWriter(to)
	enc := gob.NewEncoder(out)
	var told *connlog.Names
	for next := uint64(0); ; {
		var list []Ended
		if list, next = m.some(next); len(list) == 0 {
			return out.Flush()
		}
		for len(list) > 0 {
			n := slices.IndexFunc(list, func(e Ended) bool { return e.Names != list[0].Names })
			if n < 0 {
				n = len(list)
			}
			p := part{Events: make([]dataplane.Event, n), Talks: make([][]byte, n)}
			if list[0].Names != told {
				told = list[0].Names
				p.Names = told
			}
			for i := range p.Events {
				e := &p.Events[i]
				*e = list[i].Event
				p.Talks[i] = slices.Clone(e.TalkHead[:min(e.TalkLen, dataplane.TalkSample)])
				clear(e.TalkHead[:])
			}
			if err := enc.Encode(p); err != nil {
				return fmt.Errorf("save connections that have ended: %w", err)
			}
			list = list[n:]
		}
	}
}

// some returns connections from a position on, and the position after them.
func (m *Memory) some(from uint64) (list []Ended, next uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.absorbLocked()
	for from = max(from, m.oldest()); from < m.end && len(list) < chunk; from++ {
		list = append(list, m.ended(from))
	}
	return list, from
}

// maxSaved bounds what is read of another process, in octets: some 50 million connections.
const maxSaved = 16 << 30

// Inherit reads what another process has saved, and puts it before what is remembered. It returns how many connections it has put
// there, also if there is an error. Shards never wait long for it.
func (m *Memory) Inherit(from io.Reader) (n int, err error) {
	m.mu.Lock()
	whole := New(int(m.size))
	m.mu.Unlock()
	if whole.size == 0 {
		return 0, nil
	}
	dec := gob.NewDecoder(bufio.NewReader(io.LimitReader(from, maxSaved)))
	var names *connlog.Names
	for {
		var p part
		if err = dec.Decode(&p); errors.Is(err, io.EOF) {
			err = nil
			break
		} else if err != nil {
			err = fmt.Errorf("read connections that have ended: %w", err)
			break
		}
		if p.Names != nil {
			names = p.Names
		}
		for i := range p.Events {
			if fits(&p.Events[i], names) {
				if i < len(p.Talks) {
					copy(p.Events[i].TalkHead[:], p.Talks[i])
				}
				whole.append(&Ended{p.Events[i], names})
				n++
			}
		}
	}
	m.follow(whole)
	return n, err
}

// fits reports whether an event can be shown with names: another process may send anything.
func fits(e *dataplane.Event, names *connlog.Names) bool {
	return names != nil && e.Kind == dataplane.EventClosed && int(e.Service) < len(names.Services) &&
		(e.Server == dataplane.NoServer || int(e.Server) < len(names.Servers))
}

// append adds a connection with the names of its time.
func (m *Memory) append(e *Ended) {
	if e.Names != m.names {
		m.names = e.Names
		m.begin()
	}
	m.add(&e.Event)
}

// follow puts what is remembered behind what another memory has, and takes its place. A memory of another size is for nothing.
func (m *Memory) follow(before *Memory) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if before.size != m.size {
		return
	}
	m.absorbLocked()
	now := m.names
	for at := m.oldest(); at < m.end; at++ {
		e := m.ended(at)
		before.append(&e)
	}
	m.seed, m.chunks, m.buckets, m.epochs, m.end, m.slot = before.seed, before.chunks, before.buckets, before.epochs, before.end, before.slot
	m.turn++
	m.names = now
	m.begin()
}

// ended returns the connection at a position.
func (m *Memory) ended(position uint64) Ended {
	e, r := &m.epochs[0], m.at(position)
	for i := range m.epochs {
		if m.epochs[i].from <= position {
			e = &m.epochs[i]
		}
	}
	found := Ended{r.event(), e.names}
	if r.signature != 0 {
		found.Event.Signature = e.signatures[r.signature-1]
	}
	return found
}
