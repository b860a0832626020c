package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"hushgate/dataplane"
	"hushgate/internal/drive"
)

// The messages to systemd (sd_notify(3)), if systemd started this process.
const (
	readyState    = daemon.SdNotifyReady
	stoppingState = daemon.SdNotifyStopping
)

func (g *gateway) notify(states ...string) {
	if err := tellSystemd(strings.Join(states, "\n")); err != nil {
		g.log.Warn("systemd cannot be notified", "err", err)
	}
}

// notifyPatience is how long a message to systemd may take. Its socket may be full, and that must not stop the gateway.
const notifyPatience = time.Second

// tellSystemd is daemon.SdNotify with a time limit.
func tellSystemd(state string) error {
	to := net.UnixAddr{Name: os.Getenv("NOTIFY_SOCKET"), Net: "unixgram"}
	if to.Name == "" {
		return nil
	}
	conn, err := net.DialUnix(to.Net, nil, &to)
	if err != nil {
		return err
	}
	_ = conn.SetWriteDeadline(time.Now().Add(notifyPatience))
	_, err = conn.Write([]byte(state))
	return errors.Join(err, conn.Close())
}

// reloadingState returns the message that a reload has begun now.
func reloadingState() string {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // never fails
	return fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/int64(time.Microsecond))
}

// watchdog tells systemd that all is well as long as each shard's loop responds. (WatchdogSec)
func (g *gateway) watchdog(ctx context.Context) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return // systemd does not ask for it
	}
	every(ctx, interval/3, func() {
		if g.allRespond(ctx, interval/2) {
			g.notify(daemon.SdNotifyWatchdog)
		} else if ctx.Err() == nil {
			g.log.Error("shard loop stalled", "waited", interval/2)
		}
	})
}

// allRespond reports whether each loop carries out an order within patience.
func (g *gateway) allRespond(ctx context.Context, patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, l := range g.loops {
		if _, ok := drive.Ask(ctx, l, func(*dataplane.Shard) struct{} { return struct{}{} }); !ok {
			return false
		}
	}
	return true
}
