"""The page that shows the face in a browser: its server, what is sent, and the page itself.

    node viewer --show_...--> Server (a thread of its own) --WebSocket--> page/*.js
                <---ask-----                               <-----------

Nothing here knows ROS; contextface_ros/nodes/viewer.py does.
"""
