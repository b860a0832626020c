package privilege

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// needed lists the capabilities that are kept, and why.
var needed = []struct {
	value cap.Value
	what  string
}{
	{cap.NET_ADMIN, "the firewall rules, the receive queues"},
	{cap.NET_RAW, "the packet sockets"},
}

// MissingError reports capabilities that a gateway needs and the process does not have.
type MissingError struct{ Missing []string }

// Error names the missing capabilities, and how the process gets them.
func (e *MissingError) Error() string {
	return "missing capabilities: " + strings.Join(e.Missing, ", ") +
		": start it as root, or with AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW in the unit of systemd"
}

// Drop leaves the process only the capabilities that a gateway needs, in all sets of all threads. Programs that it starts
// get these too, as any user, and can get no others, because no_new_privs is set. If name is not empty, the process becomes
// that user, with the user's groups. A step that was already done, for example by systemd, is not repeated, so that a filter
// of system calls need not allow it. The error is a MissingError if a needed capability is missing. After any other error
// the process is only partly changed, and should end.
func Drop(name string) error {
	if err := Check(); err != nil {
		return err
	}
	if err := become(name); err != nil {
		return err
	}
	if err := limit(); err != nil {
		return fmt.Errorf("drop the capabilities: %w", err)
	}
	if set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err == nil && set == 1 {
		return nil
	}
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return nil
}

// Check returns a MissingError if the process does not have what a gateway needs.
func Check() error {
	return lacking(cap.GetProc())
}

// lacking returns a MissingError if a set of capabilities lacks one that is needed.
func lacking(have *cap.Set) error {
	var missing []string
	for _, n := range needed {
		if there, err := have.GetFlag(cap.Permitted, n.value); err != nil || !there {
			missing = append(missing, fmt.Sprintf("%s (%s)", strings.ToUpper(n.value.String()), n.what))
		}
	}
	if missing != nil {
		return &MissingError{missing}
	}
	return nil
}

// become changes the user of all threads, and keeps the capabilities.
func become(name string) error {
	if name == "" {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return fmt.Errorf("run as user %s: %w", name, err)
	}
	names, err := u.GroupIds()
	if err != nil {
		return fmt.Errorf("find the groups of user %s: %w", name, err)
	}
	ids, err := numbers(append([]string{u.Uid, u.Gid}, names...))
	if err != nil {
		return fmt.Errorf("run as user %s: %w", name, err)
	}
	if ids[0] == unix.Getuid() && ids[0] == unix.Geteuid() {
		return nil
	}
	if err := cap.SetGroups(ids[1], ids[2:]...); err != nil {
		return fmt.Errorf("take the groups of user %s: %w (needed: CAP_SETGID)", name, err)
	}
	if err := cap.SetUID(ids[0]); err != nil {
		return fmt.Errorf("become user %s: %w (needed: CAP_SETUID)", name, err)
	}
	return nil
}

func numbers(words []string) (ids []int, err error) {
	for _, w := range words {
		id, err := strconv.Atoi(w)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// limit sets all capability sets to what they should be. Without CAP_SETPCAP the bounding set stays as it is; because of
// no_new_privs no capability can be gained from it.
func limit() error {
	sets := cap.NewSet()
	rest := cap.NewIAB()
	for _, n := range needed {
		if err := errors.Join(
			sets.SetFlag(cap.Permitted, true, n.value), sets.SetFlag(cap.Effective, true, n.value),
			sets.SetFlag(cap.Inheritable, true, n.value), rest.SetVector(cap.Amb, true, n.value),
		); err != nil {
			return err
		}
	}
	have := cap.GetProc()
	if may, err := have.GetFlag(cap.Permitted, cap.SETPCAP); err == nil && may {
		for v := range cap.MaxBits() {
			if keeps, err := sets.GetFlag(cap.Permitted, v); err != nil || keeps {
				continue
			}
			if err := rest.SetVector(cap.Bound, true, v); err != nil { // for this set, raised means blocked
				return err
			}
		}
	}
	if done, err := have.Cf(sets); err == nil && done == 0 && ambient() {
		return nil
	}
	if err := rest.SetProc(); err != nil { // inheritable, ambient and bounding
		return err
	}
	return sets.SetProc()
}

// ambient reports whether programs that are started get the needed capabilities.
func ambient() bool {
	for _, n := range needed {
		if there, err := cap.GetAmbient(n.value); err != nil || !there {
			return false
		}
	}
	return true
}

// CheckProcess is Check for another process.
func CheckProcess(pid int) error {
	have, err := cap.GetPID(pid)
	if err != nil {
		return fmt.Errorf("read the capabilities of process %d: %w", pid, err)
	}
	return lacking(have)
}
