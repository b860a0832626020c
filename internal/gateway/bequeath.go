package gateway

import (
	"os"
	"slices"
	"time"

	"hushgate/internal/handover"
)

// What is remembered of connections that have ended is large, and nobody waits for it. So the process that takes over gets a pipe with
// all else, and reads from it while it works already.

// Optional parts of the conversation are numbers among the versions of a hello: the first release compares these with its own and
// refuses a member that it does not know.
const (
	takesSockets = 1001 // those of the control API and of HAProxy's commands
	takesMemory  = 1002 // of connections that have ended
)

// newHello returns what this process says when it takes over.
func newHello() hello {
	return hello{Versions: []int{handover.Version, takesSockets, takesMemory}}
}

// takes reports whether the process that takes over knows an optional part.
func (h *hello) takes(part int) bool {
	return slices.Contains(h.Versions, part) || part == takesSockets && h.API
}

// bequeathPatience is how long either process waits for the other one.
const bequeathPatience = 30 * time.Second

// handMemory sends the end of a pipe. What is remembered follows when this process has nothing else to do.
func (g *gateway) handMemory(conn *handover.Conn) error {
	from, to, err := os.Pipe()
	if err != nil {
		return err
	}
	if err := handFiles(conn, fileNote{Memory: true}, from); err != nil {
		_ = to.Close()
		return err
	}
	g.heirs = to
	return nil
}

// bequeath writes what is remembered for the process that has taken over, if it wants that.
func (g *gateway) bequeath() {
	to := g.heirs
	if to == nil {
		return
	}
	g.heirs = nil
	defer func() { _ = to.Close() }()
	if !g.given {
		return
	}
	_ = to.SetWriteDeadline(time.Now().Add(bequeathPatience))
	if err := g.bygone.Save(to); err != nil {
		g.log.Debug("what is known of connections that have ended was not handed over", "err", err)
	}
}

// inheritBygone reads what the process before remembers, and closes the pipe.
func (g *gateway) inheritBygone(from *os.File) {
	defer func() { _ = from.Close() }()
	_ = from.SetReadDeadline(time.Now().Add(bequeathPatience))
	n, err := g.bygone.Inherit(from)
	if err != nil {
		g.log.Warn("explanations of earlier connections were not taken over to the end", "connections", n, "err", err)
		return
	}
	g.log.Debug("explanations of earlier connections were taken over", "connections", n)
}
