package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
)

// TestMain gives the tests a socket name of their own, because a hushgate may run on this machine.
func TestMain(m *testing.M) {
	if name := os.Getenv(strangerOf); name != "" {
		address.Name = name
		os.Exit(stranger())
	}
	address.Name = fmt.Sprintf("@hushgate-test-%d", os.Getpid())
	os.Exit(m.Run())
}

func acquire(t *testing.T) *Lock {
	t.Helper()
	l, err := Acquire()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestOneAtATime(t *testing.T) {
	l := acquire(t)
	var held *HeldError
	if _, err := Acquire(); !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Errorf("a second lock: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	acquire(t)
}

// TestAdopt: the lock passes from one holder to the next without being free in between.
func TestAdopt(t *testing.T) {
	l := acquire(t)
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	next, err := Adopt(f)
	if err := errors.Join(err, f.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Acquire(); err == nil {
		t.Error("the lock was free although it had been adopted")
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
	acquire(t)
}

func TestAsk(t *testing.T) {
	if _, err := Ask(t.Context(), "reload"); !errors.Is(err, ErrNone) {
		t.Errorf("without a hushgate: %v", err)
	}
	l := acquire(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- l.Serve(ctx, Handlers{Do: func(_ context.Context, command string) Answer {
			return Answer{Warnings: []string{"careful"}, Error: "no " + command}
		}})
	}()
	if _, err := Acquire(); err == nil { // a process that only looks for the holder does no harm
		t.Error("a second lock")
	}
	a, err := Ask(t.Context(), "reload")
	if err != nil || a.Error != "no reload" || len(a.Warnings) != 1 {
		t.Errorf("answer %+v, %v", a, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
