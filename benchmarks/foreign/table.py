"""The models of `benchmarks.foreign.models`, by the PyPI distribution that contains them; none is stored here."""

from __future__ import annotations

from types import MappingProxyType

_ROBOTICS = "gymnasium_robotics/envs/assets"
_V5 = "gymnasium/envs/mujoco/assets"
_WALKERS = "dm_control/locomotion/walkers/assets"
_SAWYER = "metaworld/assets/sawyer_xyz"
_MYO = "myo_sim/models/legacy"
_SUITE = "robosuite/models/assets"
_GOALS = "ogbench/manipspace/descriptions"

MODELS = MappingProxyType(
    {
        "gym-aloha": (
            "gym_aloha/assets/bimanual_viperx_end_effector_insertion.xml",
            "gym_aloha/assets/bimanual_viperx_transfer_cube.xml",
        ),
        "gym-xarm": ("gym_xarm/tasks/assets/lift.xml", "gym_xarm/tasks/assets/peg_in_box.xml"),
        "gymnasium": (
            f"{_V5}/half_cheetah.xml",
            f"{_V5}/humanoid.xml",
            f"{_V5}/inverted_double_pendulum.xml",
            f"{_V5}/pusher_v5.xml",
            f"{_V5}/swimmer.xml",
            f"{_V5}/walker2d_v5.xml",
        ),
        "gymnasium-robotics": (
            f"{_ROBOTICS}/adroit_hand/adroit_door.xml",
            f"{_ROBOTICS}/adroit_hand/adroit_hammer.xml",
            f"{_ROBOTICS}/adroit_hand/adroit_relocate.xml",
            f"{_ROBOTICS}/fetch/pick_and_place.xml",
            f"{_ROBOTICS}/hand/manipulate_block_touch_sensors.xml",
            f"{_ROBOTICS}/hand/manipulate_pen.xml",
            f"{_ROBOTICS}/hand/reach.xml",
            f"{_ROBOTICS}/kitchen_franka/kitchen_assets/kitchen_env_model.xml",
            f"{_ROBOTICS}/point/point.xml",
            "gymnasium_robotics/envs/multiagent_mujoco/assets/coupled_half_cheetah.xml",
        ),
        "dm-control": (
            f"{_WALKERS}/dog_v2/dog.xml",
            f"{_WALKERS}/fruitfly_v2/fruitfly.xml",
            f"{_WALKERS}/humanoid_CMU_V2020.xml",
            f"{_WALKERS}/jumping_ball/jumping_ball_with_head.xml",
            f"{_WALKERS}/rodent.xml",
            "dm_control/locomotion/soccer/assets/boxhead/boxhead.xml",
            "dm_control/mujoco/testing/assets/cartpole_no_names.xml",
            "dm_control/mujoco/testing/assets/model_with_third_order_actuators.xml",
            "dm_control/third_party/ant/ant.xml",
            "dm_control/suite/stacker.xml",
            "dm_control/suite/lqr.xml",
        ),
        "metaworld": (
            f"{_SAWYER}/sawyer_assembly_peg.xml",
            f"{_SAWYER}/sawyer_coffee.xml",
            f"{_SAWYER}/sawyer_door_lock.xml",
        ),
        "myo-sim": (
            f"{_MYO}/elbow/myoelbow_1dof6muscles.xml",
            f"{_MYO}/elbow/myoelbow_1dof6muscles_1dofSoftexo_Ideal.xml",
            f"{_MYO}/finger/motorfinger_v0.xml",
            f"{_MYO}/finger/myofinger_v0.xml",
            f"{_MYO}/osl/myolegs_osl.xml",
        ),
        "ogbench": (
            "ogbench/locomaze/assets/humanoid.xml",
            f"{_GOALS}/robotiq_2f85/scene.xml",
            f"{_GOALS}/universal_robots_ur5e/scene.xml",
        ),
        "robosuite": (
            f"{_SUITE}/bases/omron_mobile_base.xml",
            f"{_SUITE}/grippers/inspire_left_hand.xml",
            f"{_SUITE}/grippers/jaco_three_finger_gripper.xml",
            f"{_SUITE}/grippers/robotiq_gripper_s.xml",
            f"{_SUITE}/robots/baxter/robot.xml",
            f"{_SUITE}/robots/gr1/robot.xml",
            f"{_SUITE}/robots/panda/robot.xml",
            f"{_SUITE}/robots/spot/robot.xml",
            f"{_SUITE}/robots/tiago/robot.xml",
        ),
        "safety-gymnasium": (
            "safety_gymnasium/assets/xmls/car.xml",
            "safety_gymnasium/assets/xmls/doggo.xml",
            "safety_gymnasium/assets/xmls/racecar.xml",
        ),
    }
)
