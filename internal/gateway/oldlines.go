package gateway

import (
	"strings"

	"hushgate/dataplane"
	"hushgate/internal/connlog"
)

func countsOf(e *dataplane.Event) connlog.Counts {
	return connlog.Counts{
		Active: int(e.Active), Frontend: int(e.FrontendActive), Backend: int(e.BackendActive), Server: int(e.ServerActive),
	}
}

// linesOf returns the log lines about a connection that has ended, in the format that its frontend has now, with the names of its time.
// They are also returned if they were only counted, or left out because of dontlognull.
func (r *recorder) linesOf(e *dataplane.Event, names *connlog.Names) (lines []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.frontNamed(names.Services[e.Service].Frontend)
	if f == nil {
		return nil
	}
	render := connlog.Renderer{Clock: r.render.Clock, Names: names}
	var b []byte
	if f.format.Postscreen() {
		b = appendEarlier(b, &render, e)
	}
	b = f.appendEnd(b, &render, e, countsOf(e))
	for line := range strings.Lines(string(b)) {
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	return lines
}

// frontNamed returns the frontend with a name; nil if there is none any more.
func (r *recorder) frontNamed(name string) *front {
	for i, s := range r.render.Names.Services {
		if s.Frontend == name {
			return &r.fronts[i]
		}
	}
	return nil
}

// appendEarlier appends postscreen's lines that came before the end of a connection, apart from CONNECT.
func appendEarlier(b []byte, r *connlog.Renderer, e *dataplane.Event) []byte {
	if e.Observed {
		talked := *e
		talked.Closed = e.FirstByte
		b = append(r.AppendTalk(b, &talked), '\n')
	}
	if e.Cause == dataplane.CauseListed {
		b = append(r.AppendRank(b, e), '\n')
	}
	before := len(b)
	if b = r.AppendListed(b, e); len(b) == before && e.Verdict == dataplane.VerdictQuiet && e.Banner != 0 {
		b = r.AppendPass(b, e)
	}
	if len(b) > before {
		b = append(b, '\n')
	}
	return b
}
