#include <contextface_ros/msg/expression.hpp>
#include <rclcpp/rclcpp.hpp>

int main(int argc, char ** argv)
{
  rclcpp::init(argc, argv);
  auto node = std::make_shared<rclcpp::Node>("face_controller");
  const auto last = rclcpp::QoS(1).transient_local();  // who joins late gets the last one too
  auto subscription = node->create_subscription<contextface_ros::msg::Expression>(
    "expression", last, [&node](const contextface_ros::msg::Expression & face) {
      if (face.basis != "open-1") {  // numbers without their basis mean nothing
        RCLCPP_WARN(node->get_logger(), "I do not know the basis %s", face.basis.c_str());
        return;
      }
      RCLCPP_INFO(node->get_logger(), "intensity %.2f, beta %.2f, %.2f, %.2f ...",
        face.intensity, face.expression[0], face.expression[1], face.expression[2]);
      // Here your servos, or your avatar: face.expression has 100 coefficients.
    });
  rclcpp::spin(node);
  rclcpp::shutdown();
}
