package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"

	"hushgate/internal/instance"
)

// upgradeCommand has the gateway start its program anew, which may be another by now, and let that take over.
const upgradeCommand = "upgrade"

// upgrade is the conversation of upgradeCommand: an Answer when it is over, either way.
func (g *gateway) upgrade(ctx context.Context, conn *net.UnixConn) {
	g.talking.Add(1)
	defer g.talking.Done()
	var a instance.Answer
	if err := g.succeed(ctx); err != nil {
		a.Error = err.Error()
	}
	_ = json.NewEncoder(conn).Encode(a) // who asked may have gone
}

// succeed starts the process that is to take over, in the place where this one is (its control group, for systemd), and
// waits until it has.
func (g *gateway) succeed(ctx context.Context) error {
	if len(g.program) == 0 {
		return fmt.Errorf("this process does not know its program")
	}
	cmd := exec.Command(g.program[0], g.program[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WATCHDOG_PID=") }) // it is not us
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the process that is to take over: %w", err)
	}
	g.log.Info("upgrade", "program", strings.Join(g.program, " "), "pid", cmd.Process.Pid)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return fmt.Errorf("the new process did not take over (%v): its log says why", err)
	case <-ctx.Done():
		if !g.given {
			return fmt.Errorf("hushgate is ending")
		}
		return nil
	}
}
