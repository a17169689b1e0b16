# The same, until a hundred thousand packets were judged, twenty thousand of them numbered frames.
. "$RIG/scenarios/output_commit.sh"
ci=()
limit_s=3600
output_frames=20000 output_packets=100000 output_frames_per_s=40 output_traffic_s=60
