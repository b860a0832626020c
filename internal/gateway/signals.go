package gateway

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// signals are the requests from outside the process.
type signals struct {
	asked   context.Context // done when the process is asked to end
	hurry   chan struct{}   // closed when it is asked again
	reload  chan os.Signal
	tell    chan os.Signal // by default this signal would kill the process, at whatever moment it is received
	release func()
}

// catchSignals catches signals from now on. The end of ctx counts as a request to end.
func catchSignals(ctx context.Context) *signals {
	asked, cancel := context.WithCancelCause(ctx)
	ask := func() { cancel(errEnding) }
	s := &signals{asked: asked, hurry: make(chan struct{}), reload: make(chan os.Signal, 1), tell: make(chan os.Signal, 1)}
	ends, done := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(ends, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(s.reload, syscall.SIGHUP)
	signal.Notify(s.tell, syscall.SIGUSR1)
	go func() {
		for _, then := range []func(){ask, func() { close(s.hurry) }} {
			select {
			case <-ends:
				then()
			case <-done:
				return
			}
		}
	}()
	s.release = func() {
		signal.Stop(ends)
		signal.Stop(s.reload)
		signal.Stop(s.tell)
		close(done)
		ask()
	}
	return s
}
