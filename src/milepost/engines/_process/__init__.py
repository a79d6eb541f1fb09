"""Engines in other processes: children, their pipes, pools of them, and the confined reader."""
