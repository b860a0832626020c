package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"hushgate/internal/lab"
)

// insideEnv marks the copy of the command that runs in its own namespaces.
const insideEnv = "HUSHGATE_LAB_INSIDE"

func newLabCommand() *cobra.Command {
	var o lab.ShowOptions
	var noColour bool
	cmd := &cobra.Command{
		Use: "lab", Short: "Show hushgate at work, in its own network namespaces", Args: cobra.NoArgs,
		Long: "Build a client, a gateway and two mail servers in network namespaces, run this program as the gateway with\n" +
			"the reference configuration, and show bots being reset and mail being delivered. Needs root or user\n" +
			"namespaces, and iptables. Nothing is left behind. The exit status is 0 if every step succeeded.",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if os.Getenv(insideEnv) == "" {
				return enter()
			}
			if err := privateRun(); err != nil {
				return err
			}
			if noColour || os.Getenv("NO_COLOR") != "" || !term.IsTerminal(int(os.Stdout.Fd())) {
				text.DisableColors()
			}
			if o.Delay < 500*time.Millisecond {
				return fmt.Errorf("--delay %v: expected at least 500ms", o.Delay)
			}
			if o.Binary, err = os.Executable(); err != nil {
				return fmt.Errorf("find this program's file: %w", err)
			}
			o.Out = cmd.OutOrStdout()
			return lab.Show(cmd.Context(), o)
		},
	}
	cmd.Flags().DurationVar(&o.Delay, "delay", 3*time.Second, "delay before the banner")
	cmd.Flags().BoolVar(&o.Shell, "shell", false, "keep the lab running and open a shell on the client")
	cmd.Flags().BoolVar(&noColour, "no-color", false, "no colours")
	return cmd
}

// enter runs this command again in its own mount namespace and, without root, in a user namespace.
func enter() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"=1", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return errReported
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("make namespaces: %w (the lab needs root, or user namespaces that this system allows)", err)
	case err != nil:
		return fmt.Errorf("run the lab: %w", err)
	}
	return nil
}

// privateRun gives iptables another place for its lock than the system's.
func privateRun() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount the lab's own /run: %w", err)
	}
	return nil
}
