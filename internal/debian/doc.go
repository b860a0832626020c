// Package debian is the Debian package: what ./build packs besides the program and its documentation. It is made of tests
// alone. They install the package on Debian machines that they make: containers of systemd-nspawn with a systemd of
// their own, on the hosts of a lab. Start reading at machine_test.go.
package debian
