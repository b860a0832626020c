package gateway

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestKeepRules: a reported change is checked at once. A storm of changes uses a bounded share of the time, and its last
// change is not lost. Repairs are logged in one line now and then.
func TestKeepRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		changed := make(chan string, 1)
		var log bytes.Buffer
		r := &rules{log: slog.New(slog.NewTextHandler(&log, nil))}
		var broken atomic.Bool
		var looks, repairs atomic.Int64
		const look = 4 * time.Millisecond
		go r.keep(ctx, changed, func(context.Context) (bool, error) {
			was := broken.Swap(false)
			looks.Add(1)
			time.Sleep(look)
			if was {
				repairs.Add(1)
				select {
				case changed <- "iptables-restor": // our own changes, which are reported too
				default:
				}
			}
			return was, nil
		})
		hear := func() {
			broken.Store(true)
			select {
			case changed <- "nft":
			default:
			}
		}
		hear()
		time.Sleep(look)
		synctest.Wait()
		if n := repairs.Load(); n != 1 {
			t.Errorf("%d repairs at once", n)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := looks.Swap(0); n != 2 { // the second one because of our own change; there is no third
			t.Errorf("%d checks", n)
		}
		for range 2000 { // two seconds
			hear()
			time.Sleep(time.Millisecond)
		}
		if n := looks.Load(); n > 2000/int64((pauseFactor+1)*look/time.Millisecond)+1 || n < 50 {
			t.Errorf("%d checks in a storm of two seconds", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if broken.Load() {
			t.Error("the last change of a storm was lost")
		}
		time.Sleep(2 * verifyEvery)
		cancel()
		synctest.Wait()
		if n := strings.Count(log.String(), "installed again"); n != 2 || !strings.Contains(log.String(), "times=1 changed_by=nft") {
			t.Errorf("%d lines:\n%s", n, &log)
		}
	})
}

// TestKeepRulesSays: if the rules cannot be read, this is logged once in a while, however often it is tried.
func TestKeepRulesSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		changed := make(chan string, 1)
		var log bytes.Buffer
		r := &rules{log: slog.New(slog.NewTextHandler(&log, nil))}
		go r.keep(ctx, changed, func(context.Context) (bool, error) { return false, errors.New("no iptables any more") })
		for range 50 {
			changed <- "nft"
			time.Sleep(100 * time.Millisecond)
		}
		cancel()
		synctest.Wait()
		if n := strings.Count(log.String(), "no iptables any more"); n != 1 {
			t.Errorf("%d lines:\n%s", n, &log)
		}
	})
}

// TestRulesTakeTurns: an operation waits for another one within its time limit, and gives up when the process is asked to
// end.
func TestRulesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rules{turn: make(chan struct{}, 1)}
		free := make(chan struct{})
		go func() {
			_ = r.within(t.Context(), time.Hour, func(context.Context) error { <-free; return nil })
		}()
		synctest.Wait()
		none := func(context.Context) error { t.Error("two at a time"); return nil }
		began := time.Now()
		if err := r.within(t.Context(), repairPatience, none); !errors.Is(err, errSlow) || time.Since(began) != repairPatience {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		asked, ask := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { ask(errEnding) })
		began = time.Now()
		if err := r.within(asked, repairPatience, none); !errors.Is(err, errEnding) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		close(free)
	})
}
