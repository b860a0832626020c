package gateway

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Signals are the requests from outside the process. They wait until the gateway is able to answer them.
type Signals struct {
	asked  context.Context // done when the process is asked to end
	hurry  chan struct{}   // closed when it is asked again
	reload chan os.Signal
	tell   chan os.Signal
	reopen chan os.Signal
}

// CatchSignals catches signals from now on until the process ends. Before, the Go runtime ignores SIGUSR1 and SIGUSR2, and SIGHUP ends the
// process, so a command calls this before it reads its configuration. The end of ctx counts as a request to end.
func CatchSignals(ctx context.Context) *Signals {
	asked, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	ask := func() { cancel(errEnding) }
	s := &Signals{asked: asked, hurry: make(chan struct{}), reload: make(chan os.Signal, 1), tell: make(chan os.Signal, 1), reopen: make(chan os.Signal, 1)}
	requests := []func(){ask, func() { close(s.hurry) }}
	if ctx.Err() != nil { // the process was already asked to end
		ask()
		requests = requests[1:]
	}
	context.AfterFunc(ctx, ask)
	ends := make(chan os.Signal, 2)
	signal.Notify(ends, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(s.reload, syscall.SIGHUP)
	signal.Notify(s.tell, syscall.SIGUSR1)
	signal.Notify(s.reopen, syscall.SIGUSR2)
	go func() {
		for _, request := range requests {
			<-ends
			request()
		}
	}()
	return s
}
