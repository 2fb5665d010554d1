"""Exit with 0 if the server of this container is alive; for engines that probe with a command."""

import http.client
import os
import sys

# A host that ALLOWED_HOSTS names; of a pattern, the domain.
host = os.environ.get("DJANGO_ALLOWED_HOSTS", "localhost").split(",")[0].strip().lstrip(".*")
server = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT", "8000")), timeout=2)
try:
    server.request("GET", "/health/live", headers={"Host": host or "localhost"})
    status = server.getresponse().status
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"not alive: {error}")
if status != 200:
    sys.exit(f"not alive: status {status}")
