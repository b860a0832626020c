package netenv

import (
	"fmt"
	"os"
	"runtime"
)

// Machine is what is known about the machine that this process runs on.
type Machine struct {
	*Mirror
	Processors int // that this process may use
	// LowPort and HighPort are the range of ports that the kernel gives to connections of this machine; none if LowPort >
	// HighPort.
	LowPort, HighPort uint16
}

// NewMachine adds to m what it does not mirror.
func NewMachine(m *Mirror) Machine {
	v := Machine{Mirror: m, Processors: runtime.GOMAXPROCS(0)}
	v.LowPort, v.HighPort = OwnPorts()
	return v
}

// OwnPorts returns the ports that the kernel gives to connections of this machine; an empty range if they cannot be read.
func OwnPorts() (low, high uint16) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 1, 0
	}
	return portRange(string(text))
}

// portRange reads the content of ip_local_port_range; an empty range if it is not understood.
func portRange(text string) (low, high uint16) {
	if _, err := fmt.Sscan(text, &low, &high); err != nil {
		return 1, 0
	}
	return low, high
}
