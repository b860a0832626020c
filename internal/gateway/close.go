package gateway

import "errors"

// close undoes what open did. It frees the log and the files last, because that may take a moment if nothing reads the log
// or the disk is slow. By then the machine is as it was before.
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
	errs = append(errs, g.speech.Close(), g.closeSockets())
	g.metrics.Close()
	if g.rules != nil && !g.given && g.successor == nil { // otherwise they belong to another process
		errs = append(errs, g.leaveRules())
	}
	errs = append(errs, g.rules.close(), g.kept.end())
	if !g.given {
		for _, s := range g.restore {
			errs = append(errs, s.Set(s.was))
		}
	}
	g.bequeath()
	g.passes.end()
	g.closeKeeper()
	g.lines.close()
	return errors.Join(errs...)
}

// unlock allows another hushgate to start.
func (g *gateway) unlock() error {
	if g.lock == nil {
		return nil
	}
	return g.lock.Close()
}
