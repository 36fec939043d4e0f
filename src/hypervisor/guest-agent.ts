/** What both sides call the port of QEMU's guest agent. */
export const AGENT_PORT = 'org.qemu.guest_agent.0'
