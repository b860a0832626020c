// Package debian is the Debian package: what ./build packs besides the program and its documentation. It has only
// tests. They install the package on Debian machines that they make: containers of systemd-nspawn with their own systemd, on
// the hosts of a lab. Start reading at machine_test.go.
package debian
