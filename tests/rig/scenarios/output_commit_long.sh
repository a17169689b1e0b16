# The same, until a hundred thousand numbered frames were judged.
. "$RIG/scenarios/output_commit.sh"
full=yes
limit_s=3600
output_frames=100000 output_frames_per_s=100 output_traffic_s=60
