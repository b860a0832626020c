package gateway

import "errors"

// close undoes what open did. What may take a moment, because nobody reads the log or the disk is slow, comes last: by then
// the machine is as it was.
func (g *gateway) close() error {
	var errs []error
	for _, w := range g.watched {
		for _, s := range w.List {
			errs = append(errs, s.Swap(nil))
		}
		if w.Poll != nil {
			errs = append(errs, w.Poll.Close())
		}
	}
	errs = append(errs, g.speech.Close())
	if g.rules != nil && !g.given && g.heir == nil { // else they are another process's
		errs = append(errs, g.leaveRules())
	}
	errs = append(errs, g.rules.close())
	if !g.given {
		for _, s := range g.restore {
			errs = append(errs, s.Set(s.was))
		}
	}
	g.closeKeeper()
	g.lines.close()
	return errors.Join(errs...)
}

// unlock lets another hushgate start.
func (g *gateway) unlock() error {
	if g.lock == nil {
		return nil
	}
	return g.lock.Close()
}
