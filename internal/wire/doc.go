// Package wire is hushgate's knowledge of bytes: where the fields of a frame lie, how sequence numbers compare, how a
// checksum changes with a field. Nobody else knows an offset.
//
// A frame, everywhere in hushgate, is a byte slice that begins with a virtio_net_hdr of VnetLen bytes (little-endian on
// the machines that we know: it is in host byte order), then the Ethernet header, then the packet. The virtio header is
// what PACKET_VNET_HDR makes the kernel put there: it says whether the TCP checksum is complete, only the pseudo-header's
// sum, or verified by the hardware, and whether the frame is a super-frame that stands for many. Drivers that know
// nothing of this leave it zero.
//
// Numbers are in network byte order inside frames and in host byte order in every Go value.
package wire
